"""The search table, and the trials of a search that it shows."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.tables.search.table import search_table
    from reports.tables.search.trials import SearchTrial, search_trials

__all__ = ["SearchTrial", "search_table", "search_trials"]

__getattr__ = lazy_exports(__name__, __file__)
