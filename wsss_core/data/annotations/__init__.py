"""Masks for people's tools: COCO and Pascal VOC, read back by `wsss_core.data.importing`."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.annotations.coco_file import CocoFile, coco_annotations, open_coco_file
    from wsss_core.data.annotations.names import AnnotationFormat
    from wsss_core.data.annotations.parts import (
        AnnotatedImage,
        MaskPart,
        mask_parts,
        mean_scores,
        numbered_parts,
    )
    from wsss_core.data.annotations.shapes import LEAST_IOU, coco_polygon, coco_runs
    from wsss_core.data.annotations.voc_files import (
        LABEL_MAP,
        VOC_BOXES,
        VOC_LIST,
        VOC_MASKS,
        label_map,
        voc_annotation,
        voc_name,
    )

__all__ = [
    "LABEL_MAP",
    "LEAST_IOU",
    "VOC_BOXES",
    "VOC_LIST",
    "VOC_MASKS",
    "AnnotatedImage",
    "AnnotationFormat",
    "CocoFile",
    "MaskPart",
    "coco_annotations",
    "coco_polygon",
    "coco_runs",
    "label_map",
    "mask_parts",
    "mean_scores",
    "numbered_parts",
    "open_coco_file",
    "voc_annotation",
    "voc_name",
]

__getattr__ = lazy_exports(__name__, __file__)
