"""Random views of training images, drawn for each sample from (seed, pass) alone."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.augmentation.colour import jitter_colours
    from wsss_core.augmentation.cut_mix import cut_boxes, mixed_labels
    from wsss_core.augmentation.decomposition import CropSettings, crop_tag
    from wsss_core.augmentation.flips import draw_flips, mirror
    from wsss_core.augmentation.more_views import DecoupledViews, MoreViews
    from wsss_core.augmentation.passes import ImagePass, Passes, balanced_order, draw_pass
    from wsss_core.augmentation.pasting import (
        CutObject,
        PasteSettings,
        cut_objects,
        paste_object,
    )
    from wsss_core.augmentation.random_ops import RANDOM_OPS, apply_op
    from wsss_core.augmentation.rescaling import rescale_and_crop
    from wsss_core.augmentation.sample import ImageViews, Stored
    from wsss_core.augmentation.settings import (
        SAMPLINGS,
        VIEW_SETTINGS,
        AugmentationSettings,
        Sampling,
    )
    from wsss_core.augmentation.views import Load, sample_views

__all__ = [
    "RANDOM_OPS",
    "SAMPLINGS",
    "VIEW_SETTINGS",
    "AugmentationSettings",
    "CropSettings",
    "CutObject",
    "DecoupledViews",
    "ImagePass",
    "ImageViews",
    "Load",
    "MoreViews",
    "Passes",
    "PasteSettings",
    "Sampling",
    "Stored",
    "apply_op",
    "balanced_order",
    "crop_tag",
    "cut_boxes",
    "cut_objects",
    "draw_flips",
    "draw_pass",
    "jitter_colours",
    "mirror",
    "mixed_labels",
    "paste_object",
    "rescale_and_crop",
    "sample_views",
]

__getattr__ = lazy_exports(__name__, __file__)
