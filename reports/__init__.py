"""The ledger of a study, and what is made of it: tables, figures, a page; from Parquet alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reports.storage.folder import Location


@dataclass(frozen=True)
class ReportFiles:
    """What ``make_report`` wrote.

    Attributes:
        html: One self-contained page.
        markdown: The same in Markdown, beside its figures.
        tables: ``tables/*.{tex,md,csv}`` and ``tables/outcomes.{csv,parquet}``.
        figures: ``figures/*.svg``.
    """

    html: Path
    markdown: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def make_report(
    results: Location,
    out: Path,
    *,
    processes: int = 1,
    say: Callable[[str], None] | None = None,
) -> ReportFiles:
    """Make the report of every study in a results folder; equal ledgers give equal bytes.

    Args:
        results: A folder with ``ledger/``, a path or a URI.
        out: Where to write; made if absent.
        processes: How many may compute figures at once, where there are many trials; more than one
            only where the main script is guarded by ``if __name__ == "__main__"``.
        say: Told of the progress where it takes long.

    Raises:
        InputError: If the ledger has no plan, a part of it cannot be read, or ``out`` cannot be
            written.

    """
    # Imported here, as those who write the ledger should not wait for matplotlib.
    from reports.page.writing import write_report

    return write_report(results, Path(out), processes=processes, say=say)
