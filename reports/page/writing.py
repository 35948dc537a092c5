"""Writing a report: the page, the tables in three formats, the figures, the tidy frames."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from reports.ledger.digest import to_parquet
from reports.page.kept_drawings import KeptDrawings
from reports.page.rendering import render_html, render_markdown
from reports.page.staging import StagedFiles
from reports.page.views import StudyView, views_of
from reports.results.anonymous import anonymised
from reports.results.reading import read_studies
from reports.storage import Location
from reports.tables.cells import Table
from reports.tables.csv_text import csv_blocks
from reports.tables.rendering import to_csv, to_latex, to_markdown


@dataclass(frozen=True)
class ReportFiles:
    """The files that `make_report` wrote.

    Attributes:
        html: one self-contained page.
        markdown: the same page in Markdown, beside its figures.
        tables: `tables/*.{tex,md,csv}` and the tidy frames, as CSV and Parquet.
        figures: `figures/*.svg`.

    """

    html: Path
    markdown: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"


def make_report(
    results: Location,
    out: Path | str,
    *,
    processes: int = 1,
    anonymous: bool = False,
) -> ReportFiles:
    """Write the report of every study of a results folder; equal ledgers give equal bytes.

    The files appear together, when all are written.

    Args:
        results: a folder with `ledger/`, a path or a URI.
        out: a folder of this machine; made if it does not exist.
        processes: how many processes may compute figures at once if there are many trials. More
            than one needs a main script guarded by `if __name__ == "__main__"`.
        anonymous: leave out the names of machines, folders and people, see `reports.anonymous`.

    Raises:
        InputError: the ledger has no plan, a part of it cannot be read, or `out` cannot be written.

    """
    records = read_studies(results, processes=processes)
    if anonymous:
        records = anonymised(records)
    kept = KeptDrawings.of(results)
    with StagedFiles(Path(out), "the report cannot be written there") as files:

        def write_table(name: str, table: Table) -> None:
            # The label is the file's name: one document may include several tables of a kind.
            labelled = replace(table, name=name)
            for kind, text in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
                files.write(f"tables/{name}.{kind}", [text(labelled)])

        views = views_of(records, _slug, kept, write_table)
        kept.keep()
        _write_frame(files, "outcomes", partial(_outcomes, views))
        _write_frame(files, "diagnostics_by_trial", partial(_diagnostics, views))
        for view in views:
            for figure in view.figures.values():
                files.write(f"figures/{figure.name}.svg", [figure.svg])
        html = files.write("report.html", [render_html(views)])
        markdown = files.write("report.md", [render_markdown(views)])
        tables, figures = (files.below(folder) for folder in ("tables", "figures"))
    return ReportFiles(html, markdown, tables, figures)


def _write_frame(
    files: StagedFiles, name: str, blocks: Callable[[], Iterator[pd.DataFrame]]
) -> None:
    """Write a tidy frame of all studies, some rows after another: it may be larger than memory."""
    files.write(f"tables/{name}.csv", csv_blocks(blocks()))
    tables = (pa.Table.from_pandas(block, preserve_index=False) for block in blocks())
    files.write(f"tables/{name}.parquet", [to_parquet(tables)])


def _outcomes(views: Sequence[StudyView]) -> Iterator[pd.DataFrame]:
    if _is_alone(views):
        return views[0].records[0].outcome_blocks()
    return iter([pd.concat([view.outcomes for view in views], ignore_index=True)])


def _diagnostics(views: Sequence[StudyView]) -> Iterator[pd.DataFrame]:
    if _is_alone(views):
        return views[0].records[0].diagnostic_blocks()
    return iter([pd.concat([view.diagnostics for view in views], ignore_index=True)])


def _is_alone(views: Sequence[StudyView]) -> bool:
    """Return whether there is one study without a sweep; the columns of others may differ."""
    return len(views) == 1 and views[0].records[0].sweep is None
