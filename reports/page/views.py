"""The view of a study: the tables, figures and sentences that its page shows, ready to render."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        tables: by name.
        figures: by name, no name of a table; a figure without data is left out.
        sections: in reading order, before the trials and the provenance.
        provenance: code, data and machines of its trials.
        outcomes: all figures of all trials, tidy.
        diagnostics: all diagnostics of all trials, tidy.

    """

    prefix: str
    name: str
    title: str
    headlines: tuple[str, ...]
    warnings: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    tables: dict[str, Table]
    figures: dict[str, FigureView]
    sections: tuple[Section, ...]
    provenance: Provenance
    outcomes: pd.DataFrame
    diagnostics: pd.DataFrame

    @property
    def shown(self) -> dict[str, Table]:
        """The tables as the page shows them; the files hold all rows."""
        return {name: shortened(t, self.prefix + name) for name, t in self.tables.items()}

    @property
    def folded(self) -> dict[str, tuple[Table, Table | None]]:
        """The tables as the page shows them, each with the rows of many classes that it folds."""
        found: dict[str, tuple[Table, Table | None]] = {}
        for name, table in self.tables.items():
            seen, folded = split_by_class(table)
            file = self.prefix + name
            found[name] = shortened(seen, file), folded and shortened(folded, file)
        return found


def study_view(
    record: StudyRecord, prefix: str = "", kept: KeptDrawings | None = None
) -> StudyView:
    """Build everything that the page shows of a study.

    Args:
        record: the study.
        prefix: precedes the names of its files.
        kept: the drawings that may be taken instead of drawing anew.

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
    return StudyView(
        prefix=prefix,
        name=record.name,
        title=record.title,
        headlines=tuple(sentences),
        warnings=tuple(study_warnings(record)),
        key_figures=key_figures(record),
        tables={name: build() for name, build in study_tables([record]).items()},
        figures=figures,
        sections=tuple(sections),
        provenance=provenance([record], fewer([record])[0]),
        outcomes=record.outcomes(),
        diagnostics=record.diagnostics(),
    )


def sweep_view(
    records: Sequence[StudyRecord], prefix: str = "", kept: KeptDrawings | None = None
) -> StudyView:
    """Build the view of a study with a sweep: the whole sweep, then each value's tables.

    Args:
        records: one for each value of the sweep.
        prefix: precedes the names of its files.
        kept: see `study_view`.

    """
    first = records[0]
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
        tables={name: build() for name, build in study_tables(records).items()},
        figures={"sweep_figure": drawing.view(f"{prefix}sweep", kept)},
        sections=tuple(sections),
        provenance=provenance(records, fewer(records)[0]),
        outcomes=_over_sweep(records, StudyRecord.outcomes),
        diagnostics=_over_sweep(records, StudyRecord.diagnostics),
    )


def _over_sweep(
    records: Sequence[StudyRecord], frame_of: Callable[[StudyRecord], pd.DataFrame]
) -> pd.DataFrame:
    return pd.concat(
        [frame_of(record).assign(dial_value=record.sweep_value) for record in records],
        ignore_index=True,
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
    records: Sequence[StudyRecord], prefix: str = "", kept: KeptDrawings | None = None
) -> StudyView:
    """Build the view of one study; see `by_study` and `study_view`."""
    if records[0].sweep:
        return sweep_view(records, prefix, kept)
    return study_view(records[0], prefix, kept)


def views_of(
    records: Sequence[StudyRecord], slug: Callable[[str], str], kept: KeptDrawings | None = None
) -> list[StudyView]:
    """Build a view of each study; the values of one sweep share a view.

    Args:
        records: as `reports.results.reading.read_studies` returns them.
        slug: turns a study's name into a part of a file's name.
        kept: see `study_view`.

    """
    groups = by_study(records)
    several = len(groups) > 1
    return [
        view_of(group, f"{place}-{slug(name)}-" if several else "", kept)
        for place, (name, group) in enumerate(groups.items(), 1)
    ]
