"""Class activation maps of every class: raw, or of several scales, layers and networks as one."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.backbones.attending import listening
    from wsss_core.cams.any_model import ClassMaps
    from wsss_core.cams.attention import attention_cams, attention_weighted
    from wsss_core.cams.calling import cams
    from wsss_core.cams.fusion import (
        fuse,
        gate,
        merge,
        normalise_maps,
        predicted_classes,
        resize_maps,
    )
    from wsss_core.cams.gradient import grad_cam, gradient_cams, layer_cam
    from wsss_core.cams.grids import over_image
    from wsss_core.cams.multi_scale import (
        RawScores,
        check_cam,
        class_weight_cams,
        merged_views,
        view_sides,
    )
    from wsss_core.cams.restoring import captured, resized_for
    from wsss_core.cams.settings import CamSettings, scaled_size
    from wsss_core.cams.window_maps import window_cams

__all__ = [
    "CamSettings",
    "ClassMaps",
    "RawScores",
    "attention_cams",
    "attention_weighted",
    "cams",
    "captured",
    "check_cam",
    "class_weight_cams",
    "fuse",
    "gate",
    "grad_cam",
    "gradient_cams",
    "layer_cam",
    "listening",
    "merge",
    "merged_views",
    "normalise_maps",
    "over_image",
    "predicted_classes",
    "resize_maps",
    "resized_for",
    "scaled_size",
    "view_sides",
    "window_cams",
]

__getattr__ = lazy_exports(__name__, __file__)
