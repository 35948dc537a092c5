"""The view of a study: the tables, figures and sentences that its page shows, ready to render."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.decisions import decision_headlines
from reports.page.folding import split_by_class
from reports.page.headlines import KeyFigure, headlines, key_figures, left_out
from reports.page.items import study_tables, sweep_drawing
from reports.page.kept_drawings import KeptDrawings
from reports.page.limits import fewer, shortened
from reports.page.provenance import Provenance, provenance
from reports.page.sections import SECTIONS
from reports.page.specs import FigureSpec, FigureView
from reports.page.warnings import study_warnings
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table
from reports.tables.published_order import has_published_order, published_headline
from reports.tables.segments import has_segmentation
from reports.tables.sweep import sweep_headlines


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its title, and the names of its tables and figures."""

    key: str
    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class StudyView:
    """Everything that the page shows of one study.

    Attributes:
        prefix: precedes file names and ids; empty if the page holds one study.
        name: the study's name.
        title: its question.
        headlines: its opening sentences.
        warnings: sentences on results that are no findings about maps.
        key_figures: the student alone, the best taught, the teacher alone, if they have scores.
        tables: by name, those of a report with its files without rows.
        folded: the tables as the page shows them, each with the rows of many classes that it folds.
        figures: by name, no name of a table; a figure without data is left out.
        sections: in reading order, before the trials and the provenance.
        provenance: code, data and machines of its trials.
        records: the study, at each value of its sweep.

    """

    prefix: str
    name: str
    title: str
    headlines: tuple[str, ...]
    warnings: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    tables: dict[str, Table]
    folded: dict[str, tuple[Table, Table | None]]
    figures: dict[str, FigureView]
    sections: tuple[Section, ...]
    provenance: Provenance
    records: tuple[StudyRecord, ...]

    @property
    def shown(self) -> dict[str, Table]:
        """The tables as the page shows them, those of many classes whole."""
        return {name: shortened(t, self.prefix + name) for name, t in self.tables.items()}

    @property
    def outcomes(self) -> pd.DataFrame:
        """All figures of all trials, tidy."""
        return self._tidy(StudyRecord.outcomes)

    @property
    def diagnostics(self) -> pd.DataFrame:
        """All diagnostics of all trials, tidy."""
        return self._tidy(StudyRecord.diagnostics)

    def _tidy(self, frame_of: Callable[[StudyRecord], pd.DataFrame]) -> pd.DataFrame:
        if self.records[0].sweep is None:
            return frame_of(self.records[0])
        return pd.concat(
            [frame_of(record).assign(dial_value=record.sweep_value) for record in self.records],
            ignore_index=True,
        )


WriteTable = Callable[[str, Table], None]
"""Takes the name of a table's files, and the table with all rows."""


def _tables(
    builds: Mapping[str, Callable[[], Table]], prefix: str, write: WriteTable | None
) -> tuple[dict[str, Table], dict[str, tuple[Table, Table | None]]]:
    """Build tables one after another; return them, and what the page shows of each.

    A table that was written keeps no rows: those of a large study are not in memory together.
    """
    tables: dict[str, Table] = {}
    shown: dict[str, tuple[Table, Table | None]] = {}
    for name, build in builds.items():
        table, file = build(), prefix + name
        seen, folded = split_by_class(table)
        shown[name] = shortened(seen, file), folded and shortened(folded, file)
        if write is not None:
            write(file, table)
            table = replace(table, rows=())
        tables[name] = table
    return tables, shown


def study_view(
    record: StudyRecord,
    prefix: str = "",
    kept: KeptDrawings | None = None,
    write: WriteTable | None = None,
) -> StudyView:
    """Build everything that the page shows of a study.

    Args:
        record: the study.
        prefix: precedes the names of its files.
        kept: the drawings that may be taken instead of drawing anew.
        write: takes each table; None: the view keeps their rows.

    """
    figures, sections = {}, []
    for section in SECTIONS:
        if not section.belongs(record):
            continue
        for item in section.items:
            if isinstance(item, FigureSpec) and (drawing := item.drawing(record)) is not None:
                figures[item.key] = drawing.view(prefix + item.file, kept)
        items = tuple(item.key for item in section.items)
        sections.append(Section(section.key, section.title, items))
    sentences = headlines(record) + decision_headlines(record)
    if has_published_order(record) and (sentence := published_headline(record)):
        sentences.append(sentence)
    tables, folded = _tables(study_tables([record]), prefix, write)
    return StudyView(
        prefix=prefix,
        name=record.name,
        title=record.title,
        headlines=tuple(sentences),
        warnings=tuple(study_warnings(record)),
        key_figures=key_figures(record),
        tables=tables,
        folded=folded,
        figures=figures,
        sections=tuple(sections),
        provenance=provenance([record], fewer([record])[0]),
        records=(record,),
    )


def sweep_view(
    records: Sequence[StudyRecord],
    prefix: str = "",
    kept: KeptDrawings | None = None,
    write: WriteTable | None = None,
) -> StudyView:
    """Build the view of a study with a sweep: the whole sweep, then each value's tables.

    Args:
        records: one for each value of the sweep.
        prefix: precedes the names of its files.
        kept: see `study_view`.
        write: see `study_view`.

    """
    first = records[0]
    tables, folded = _tables(study_tables(records), prefix, write)
    drawing = sweep_drawing(records)
    sections = [Section("sweep", drawing.title, ("sweep", "sweep_figure"))]
    for place, record in enumerate(records, 1):
        value = f"{record.sweep_value:g}"
        at_value = f"{record.sweep} = {value}"
        names = f"strategies_{value}", f"diagnostics_{value}", f"trials_{value}"
        own = (f"segmentation_{value}",) if has_segmentation(record) else ()
        sections.append(Section(f"at-{place}", at_value, (*names[:2], *own)))
        sections.append(Section(f"trials-{place}", f"Trials at {value}", names[2:]))
    if len(first.findings):
        sections.append(Section("images", "The images", ("findings",)))
    return StudyView(
        prefix=prefix,
        name=first.study,
        title=first.title,
        headlines=(*sweep_headlines(records), *left_out(records)),
        warnings=tuple(sentence for record in records for sentence in study_warnings(record)),
        key_figures=(),
        tables=tables,
        folded=folded,
        figures={"sweep_figure": drawing.view(f"{prefix}sweep", kept)},
        sections=tuple(sections),
        provenance=provenance(records, fewer(records)[0]),
        records=tuple(records),
    )


def by_study(records: Sequence[StudyRecord]) -> dict[str, list[StudyRecord]]:
    """Gather the records of each study by its name; the values of one sweep belong together.

    Args:
        records: as `reports.results.reading.read_studies` returns them.

    """
    groups: dict[str, list[StudyRecord]] = {}
    for record in records:
        groups.setdefault(record.study, []).append(record)
    return groups


def view_of(
    records: Sequence[StudyRecord],
    prefix: str = "",
    kept: KeptDrawings | None = None,
    write: WriteTable | None = None,
) -> StudyView:
    """Build the view of one study; see `by_study` and `study_view`."""
    if records[0].sweep:
        return sweep_view(records, prefix, kept, write)
    return study_view(records[0], prefix, kept, write)


def views_of(
    records: Sequence[StudyRecord],
    slug: Callable[[str], str],
    kept: KeptDrawings | None = None,
    write: WriteTable | None = None,
) -> list[StudyView]:
    """Build a view of each study; the values of one sweep share a view.

    Args:
        records: as `reports.results.reading.read_studies` returns them.
        slug: turns a study's name into a part of a file's name.
        kept: see `study_view`.
        write: see `study_view`.

    """
    groups = by_study(records)
    several = len(groups) > 1
    return [
        view_of(group, f"{place}-{slug(name)}-" if several else "", kept, write)
        for place, (name, group) in enumerate(groups.items(), 1)
    ]
