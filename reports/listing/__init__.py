"""What commands print beside a report: every threshold chosen, and two results folders compared."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.listing.comparing import compare_results, comparison_table
    from reports.listing.thresholds import list_thresholds, threshold_choices, threshold_record

__all__ = [
    "compare_results",
    "comparison_table",
    "list_thresholds",
    "threshold_choices",
    "threshold_record",
]

__getattr__ = lazy_exports(__name__, __file__)
