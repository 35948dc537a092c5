"""The tables and figures of a study by name, each built when it is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from reports.figures.sweep import draw_sweep, sweep_info
from reports.page.limits import fewer
from reports.page.sections import SECTIONS
from reports.page.specs import Drawing, FigureSpec, TableSpec
from reports.results.origins import mixed
from reports.results.study_record import StudyRecord
from reports.tables.cells import Table
from reports.tables.diagnostics import diagnostics_table
from reports.tables.findings import findings_table
from reports.tables.folds import over_groups, with_groups
from reports.tables.long import mark_mixed
from reports.tables.segments import has_segmentation, segmentation_table
from reports.tables.strategies import strategies_table
from reports.tables.sweep import sweep_table
from reports.tables.trials import trials_table


def study_tables(records: Sequence[StudyRecord]) -> dict[str, Callable[[], Table]]:
    """Return the name of each table of a study's page, and what builds the table.

    Args:
        records: of one study: one, or one for each value of its sweep.

    """
    if records[0].sweep is not None:
        return _sweep_tables(records)
    (record,) = records
    builds = [
        (item.key, item.build)
        for section in SECTIONS
        if section.belongs(record)
        for item in section.items
        if isinstance(item, TableSpec)
    ]
    mixtures = mixed(records)

    def built(build: Callable[[StudyRecord], Table], *, tested: bool) -> Table:
        table = build(record)
        return mark_mixed(with_groups(table, record) if tested else table, mixtures)

    return {
        name: partial(built, build, tested=name != "search")
        for name, build in [*builds, ("trials", trials_table)]
    }


def _sweep_tables(records: Sequence[StudyRecord]) -> dict[str, Callable[[], Table]]:
    found: dict[str, Callable[[], Table]] = {
        "sweep": lambda: with_groups(mark_mixed(sweep_table(records), mixed(records)), records[0])
    }
    for record in records:
        value = f"{record.sweep_value:g}"
        found[f"strategies_{value}"] = partial(_with_groups, strategies_table, record)
        found[f"diagnostics_{value}"] = partial(_with_groups, diagnostics_table, record)
        if has_segmentation(record):
            found[f"segmentation_{value}"] = partial(_with_groups, segmentation_table, record)
        found[f"trials_{value}"] = partial(_trials_at, record, f"{record.sweep} = {value}")
    if len(records[0].findings):
        found["findings"] = partial(findings_table, records[0].findings)
    return found


def _with_groups(build: Callable[[StudyRecord], Table], record: StudyRecord) -> Table:
    return with_groups(build(record), record)


def _trials_at(record: StudyRecord, at_value: str) -> Table:
    return replace(trials_table(record), title=f"All trials, {at_value}")


def study_figures(
    records: Sequence[StudyRecord],
) -> dict[str, Callable[[], Drawing | None]]:
    """Return the name of each figure of a study's page, and what collects its numbers.

    Args:
        records: of one study: one, or one for each value of its sweep.

    Returns:
        A figure without data gives None.

    """
    if records[0].sweep is not None:
        return {"sweep_figure": partial(sweep_drawing, records)}
    (record,) = records
    return {
        item.key: partial(item.drawing, record)
        for section in SECTIONS
        for item in section.items
        # Whether a section of tables alone belongs is costly to tell, and makes no figure.
        if isinstance(item, FigureSpec) and section.belongs(record)
    }


def sweep_drawing(records: Sequence[StudyRecord]) -> Drawing:
    """Collect the numbers of the figure of a sweep.

    Args:
        records: one for each value of the sweep.

    """
    few, left_out = fewer(records)
    falls = {
        (record.sweep_value or 0.0, one.name, seed): value
        for record in few
        for one in record.configurations
        for seed, value in record.diagnostic_by_seed(one.name, "reliance_context").items()
    }
    info = sweep_info(few, falls or None)
    return Drawing(
        f"Sweep of {records[0].sweep}",
        "A line joins the means over seeds of one configuration; lines are set side by side. Dots "
        "are seeds, whiskers 95 % Student-t intervals, which may leave the panel. Dashed: the "
        "student alone; dotted: the teacher alone." + over_groups(records[0]) + left_out,
        draw_sweep,
        info,
    )
