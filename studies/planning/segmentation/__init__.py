"""Segmentation runs as a plan has them, and the true masks of training images."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.planning.segmentation.segment_plan import plan_segments, segment_plan_rows
    from studies.planning.segmentation.segments import (
        Job,
        MapsOfLabels,
        SegmentJob,
        SegmentScoring,
        segment_scoring_work,
        segment_work,
    )
    from studies.planning.segmentation.training_masks import MaskSet, TrainingMasks

__all__ = [
    "Job",
    "MapsOfLabels",
    "MaskSet",
    "SegmentJob",
    "SegmentScoring",
    "TrainingMasks",
    "plan_segments",
    "segment_plan_rows",
    "segment_scoring_work",
    "segment_work",
]

__getattr__ = lazy_exports(__name__, __file__)
