"""Data sets in the formats in which they are published, read into one common form."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.formats.common.coco_masks import mask_tool
    from wsss_core.data.formats.common.contents import (
        IGNORE_NAME,
        EmptyMask,
        Format,
        FormatContent,
        FormatImage,
        FormatOptions,
        Labels,
        MaskMaker,
        Picture,
        Window,
        innermost,
        takes_size_of_picture,
        with_picture,
    )
    from wsss_core.data.formats.common.crop_windows import CropRule, crop_windows, cut_windows
    from wsss_core.data.formats.common.image_folder import images_root
    from wsss_core.data.formats.common.mask_values import MaskFile, parse_values
    from wsss_core.data.formats.common.relabelling import (
        RecodedMask,
        choose_classes,
        label_by_table,
        parse_classes,
        recode_image,
        recoding,
        without_labels,
    )
    from wsss_core.data.formats.common.source_files import (
        SPLIT_WORDS,
        composed,
        left_out_images,
        read_array,
        tallied,
        unread_images,
    )
    from wsss_core.data.formats.recognition import FORMATS, Recognition, format_named, recognise

__all__ = [
    "FORMATS",
    "IGNORE_NAME",
    "SPLIT_WORDS",
    "CropRule",
    "EmptyMask",
    "Format",
    "FormatContent",
    "FormatImage",
    "FormatOptions",
    "Labels",
    "MaskFile",
    "MaskMaker",
    "Picture",
    "RecodedMask",
    "Recognition",
    "Window",
    "choose_classes",
    "composed",
    "crop_windows",
    "cut_windows",
    "format_named",
    "images_root",
    "innermost",
    "label_by_table",
    "left_out_images",
    "mask_tool",
    "parse_classes",
    "parse_values",
    "read_array",
    "recode_image",
    "recoding",
    "recognise",
    "takes_size_of_picture",
    "tallied",
    "unread_images",
    "with_picture",
    "without_labels",
]

__getattr__ = lazy_exports(__name__, __file__)
