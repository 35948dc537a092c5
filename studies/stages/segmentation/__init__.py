"""The `segment` stage: from masks to a trained segmenter and its scores."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.stages.segmentation.selection import select_images
    from studies.stages.segmentation.training import (
        SEGMENTER,
        SegmentOutcome,
        load_trained_segmenter,
    )

__all__ = [
    "SEGMENTER",
    "SegmentOutcome",
    "load_trained_segmenter",
    "select_images",
]

__getattr__ = lazy_exports(__name__, __file__)
