"""Segmenters of a study: their counts, the figures of these, how each run ended."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.results.segments.counts import SEGMENT_FIGURES, SegmentCounts
    from reports.results.segments.records import (
        SegmentRecord,
        SegmentRun,
        read_segments,
        segment_frame,
    )

__all__ = [
    "SEGMENT_FIGURES",
    "SegmentCounts",
    "SegmentRecord",
    "SegmentRun",
    "read_segments",
    "segment_frame",
]

__getattr__ = lazy_exports(__name__, __file__)
