"""The ledger of a study and everything made of it, from Parquet alone: tables, figures, a page.

from reports import make_report, read_studies

make_report("results/quickstart", "results/quickstart/report")
frame = read_studies("results/quickstart")[0].outcomes()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.ledger.parts import read_table
    from reports.page.writing import ReportFiles, make_report
    from reports.results.reading import read_studies

__all__ = ["ReportFiles", "make_report", "read_studies", "read_table"]

# Loaded when they are used: a process that writes the ledger needs neither matplotlib nor pandas.
_MODULES = {
    "ReportFiles": "reports.page.writing",
    "make_report": "reports.page.writing",
    "read_studies": "reports.results.reading",
    "read_table": "reports.ledger.parts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
