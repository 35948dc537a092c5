"""Writing a report: the page, the tables in three formats, the figures, the tidy frames."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from reports.ledger.digest import to_parquet
from reports.page.kept_drawings import KeptDrawings
from reports.page.rendering import render_html, render_markdown
from reports.page.views import views_of
from reports.results.anonymous import anonymised
from reports.results.reading import read_studies
from reports.storage import Location
from reports.tables.csv_text import frame_to_csv
from reports.tables.rendering import to_csv, to_latex, to_markdown
from wsss_core.errors import as_input_error
from wsss_core.whole_files import write_whole


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


def _parquet(frame: pd.DataFrame) -> bytes:
    return to_parquet(pa.Table.from_pandas(frame, preserve_index=False))


def make_report(
    results: Location,
    out: Path | str,
    *,
    processes: int = 1,
    anonymous: bool = False,
) -> ReportFiles:
    """Write the report of every study of a results folder; equal ledgers give equal bytes.

    Args:
        results: a folder with `ledger/`, a path or a URI.
        out: a folder of this machine; made if it does not exist.
        processes: how many processes may compute figures at once if there are many trials. More
            than one needs a main script guarded by `if __name__ == "__main__"`.
        anonymous: leave out the names of machines, folders and people, see `reports.anonymous`.

    Raises:
        InputError: the ledger has no plan, a part of it cannot be read, or `out` cannot be written.

    """
    out = Path(out)
    records = read_studies(results, processes=processes)
    kept = KeptDrawings.of(results)
    views = views_of(anonymised(records) if anonymous else records, _slug, kept)
    kept.keep()
    outcomes = pd.concat([view.outcomes for view in views], ignore_index=True)
    diagnostics = pd.concat([view.diagnostics for view in views], ignore_index=True)
    tables: dict[str, str | bytes] = {
        "outcomes.csv": frame_to_csv(outcomes),
        "outcomes.parquet": _parquet(outcomes),
        "diagnostics_by_trial.csv": frame_to_csv(diagnostics),
        "diagnostics_by_trial.parquet": _parquet(diagnostics),
    }
    for view in views:
        for name, table in view.tables.items():
            tables[f"{view.prefix}{name}.csv"] = to_csv(table)
            tables[f"{view.prefix}{name}.md"] = to_markdown(table)
            # The label is the file's name: one document may include several tables of a kind.
            labelled = replace(table, name=f"{view.prefix}{name}")
            tables[f"{view.prefix}{name}.tex"] = to_latex(labelled)
    figures = {f"{f.name}.svg": f.svg for view in views for f in view.figures.values()}
    html, markdown = render_html(views), render_markdown(views)
    with as_input_error(f"{out}: the report cannot be written there", OSError):
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        return ReportFiles(
            html=_write(out / "report.html", html),
            markdown=_write(out / "report.md", markdown),
            tables=tuple(_write(out / "tables" / name, tables[name]) for name in sorted(tables)),
            figures=tuple(_write(out / "figures" / n, figures[n]) for n in sorted(figures)),
        )


def _write(path: Path, content: str | bytes) -> Path:
    write_whole(path, content if isinstance(content, bytes) else content.encode())
    return path
