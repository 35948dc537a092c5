"""The view of a study: the tables, figures and sentences that its page shows, ready to render."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.figures.sweep import draw_sweep, sweep_info
from reports.page.headlines import KeyFigure, headlines, key_figures, left_out
from reports.page.limits import fewer, shortened
from reports.page.provenance import Provenance, provenance
from reports.page.sections import (
    SECTIONS,
    FigureView,
    TableSpec,
    draw_figure,
    has_published_order,
)
from reports.results.origins import mixed
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table, mark_mixed
from reports.tables.diagnostics import diagnostics_table
from reports.tables.published_order import published_headline
from reports.tables.strategies import strategies_table
from reports.tables.sweep import sweep_headlines, sweep_table
from reports.tables.trials import trials_table


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


def study_view(record: StudyRecord, prefix: str = "") -> StudyView:
    """Build everything that the page shows of a study.

    Args:
        record: the study.
        prefix: precedes the names of its files.

    """
    tables, figures, sections = {}, {}, []
    mixtures = mixed([record])
    for section in SECTIONS:
        if not section.belongs(record):
            continue
        for item in section.items:
            if isinstance(item, TableSpec):
                tables[item.key] = mark_mixed(item.build(record), mixtures)
            elif (figure := item.view(record, prefix)) is not None:
                figures[item.key] = figure
        items = tuple(item.key for item in section.items)
        sections.append(Section(section.key, section.title, items))
    sentences = headlines(record)
    if has_published_order(record) and (sentence := published_headline(record)):
        sentences.append(sentence)
    return StudyView(
        prefix=prefix,
        name=record.name,
        title=record.title,
        headlines=tuple(sentences),
        key_figures=key_figures(record),
        tables={**tables, "trials": mark_mixed(trials_table(record), mixtures)},
        figures=figures,
        sections=tuple(sections),
        provenance=provenance([record], fewer([record])[0]),
        outcomes=record.outcomes(),
        diagnostics=record.diagnostics(),
    )


def sweep_view(records: Sequence[StudyRecord], prefix: str = "") -> StudyView:
    """Build the view of a study with a sweep: the whole sweep, then each value's tables.

    Args:
        records: one for each value of the sweep.
        prefix: precedes the names of its files.

    """
    first = records[0]
    few, left_out_of = fewer(records)
    falls = {
        (record.sweep_value or 0.0, one.name, seed): value
        for record in few
        for one in record.configurations
        for seed, value in record.diagnostic_by_seed(one.name, "reliance_context").items()
    }
    title = f"Sweep of {first.sweep}"
    info = sweep_info(few, falls or None)
    figure = draw_figure(
        f"{prefix}sweep",
        title,
        "A line joins the means over seeds of one configuration; lines are set side by side. Dots "
        "are seeds, whiskers 95 % Student-t intervals, which may leave the panel. Dashed: the "
        "student alone; dotted: the teacher alone." + left_out_of,
        lambda: draw_sweep(info),
    )
    tables = {"sweep": mark_mixed(sweep_table(records), mixed(records))}
    sections = [Section("sweep", title, ("sweep", "sweep_figure"))]
    for place, record in enumerate(records, 1):
        value = f"{record.sweep_value:g}"
        at_value = f"{record.sweep} = {value}"
        names = f"strategies_{value}", f"diagnostics_{value}", f"trials_{value}"
        tables[names[0]] = strategies_table(record)
        tables[names[1]] = diagnostics_table(record)
        tables[names[2]] = replace(trials_table(record), title=f"All trials, {at_value}")
        sections.append(Section(f"at-{place}", at_value, names[:2]))
        sections.append(Section(f"trials-{place}", f"Trials at {value}", names[2:]))
    return StudyView(
        prefix=prefix,
        name=_study_name(first),
        title=first.title,
        headlines=(*sweep_headlines(records), *left_out(records)),
        key_figures=(),
        tables=tables,
        figures={"sweep_figure": figure},
        sections=tuple(sections),
        provenance=provenance(records, few),
        outcomes=_over_sweep(records, StudyRecord.outcomes),
        diagnostics=_over_sweep(records, StudyRecord.diagnostics),
    )


def _study_name(record: StudyRecord) -> str:
    """Return a study's name without its sweep's value."""
    if record.sweep is None:
        return record.name
    return record.name.removesuffix(f", {record.sweep} = {record.sweep_value:g}")


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
        groups.setdefault(_study_name(record), []).append(record)
    return groups


def view_of(records: Sequence[StudyRecord], prefix: str = "") -> StudyView:
    """Build the view of one study; see `by_study`."""
    return sweep_view(records, prefix) if records[0].sweep else study_view(records[0], prefix)


def views_of(records: Sequence[StudyRecord], slug: Callable[[str], str]) -> list[StudyView]:
    """Build a view of each study; the values of one sweep share a view.

    Args:
        records: as `reports.results.reading.read_studies` returns them.
        slug: turns a study's name into a part of a file's name.

    """
    groups = by_study(records)
    several = len(groups) > 1
    return [
        view_of(group, f"{place}-{slug(name)}-" if several else "")
        for place, (name, group) in enumerate(groups.items(), 1)
    ]
