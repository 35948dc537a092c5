"""Heads of segmenters over maps of an encoder of this package."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.segmentation.heads.dpt import DptHead
    from wsss_core.segmentation.heads.fused_layers import FusedLayers
    from wsss_core.segmentation.heads.joined import AllMlp, LargeFov
    from wsss_core.segmentation.heads.setr import FcnHead, SetrMla, SetrNaive, SetrPup

__all__ = [
    "AllMlp",
    "DptHead",
    "FcnHead",
    "FusedLayers",
    "LargeFov",
    "SetrMla",
    "SetrNaive",
    "SetrPup",
]

__getattr__ = lazy_exports(__name__, __file__)
