"""The ledger of a study and everything made of it, from Parquet alone: tables, figures, a page.

from reports import make_report, read_studies

make_report("results/quickstart", "results/quickstart/report")
frame = read_studies("results/quickstart")[0].outcomes()
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.ledger.parts import read_table
    from reports.page.writing import ReportFiles, make_report
    from reports.results.reading import read_studies
    from wsss_core.version import __version__

__all__ = ["ReportFiles", "__version__", "make_report", "read_studies", "read_table"]

__getattr__ = lazy_exports(__name__, __file__)
