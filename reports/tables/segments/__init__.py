"""The table of segmenters."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.tables.segments.segmentation import has_segmentation, segmentation_table

__all__ = ["has_segmentation", "segmentation_table"]

__getattr__ = lazy_exports(__name__, __file__)
