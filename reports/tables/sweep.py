"""The sweep's table and sentences: the IoU that each configuration loses over the sweep.

The drop is the IoU at the lowest value minus the IoU at the highest. No slope is fitted, because
the course between them need not be straight.
"""

from collections.abc import Sequence
from dataclasses import replace

from reports.results.study_record import StudyRecord
from reports.results.sweep import SweepRecord, SweepRow, read_sweep
from reports.tables.cells import (
    ABSENT,
    Cell,
    Column,
    Table,
    difference_cell,
    equals,
    p_cell,
    points,
    summary_cell,
    with_class_state,
    worst_state,
)


def _drop_columns(sweep: SweepRecord) -> list[Column]:
    header = f"IoU at {sweep.values[0]:g} minus at {sweep.values[-1]:g} [95 %]"
    return [
        Column("drop", header, "points", None, True, "Paired by seed: mean ± sd, t interval."),
        Column(
            "holm_p",
            "Holm p",
            numeric=True,
            about="Two-sided paired t-test of the drop, corrected over all rows.",
        ),
    ]


def _drop_cells(sweep: SweepRecord, row: SweepRow) -> tuple[Cell, Cell]:
    """Write the drop and its p; the drop with its n if trials are missing at either end."""
    states = row.states[sweep.values[0]] + row.states[sweep.values[-1]]
    cell = difference_cell(row.drop, states)
    if worst_state(states) and row.drop.summary.n:
        cell = replace(cell, text=f"{cell.text} ({equals('n', row.drop.summary.n)})")
    # No best: a configuration that starts at nothing has nothing to lose.
    return replace(cell, rank=None), p_cell(row.corrected_p)


def sweep_table(records: Sequence[StudyRecord]) -> Table:
    """Build the table: a row per configuration; IoU and accuracy at each value, and the drop.

    Args:
        records: one per value of the sweep; errors as in `read_sweep`.

    """
    sweep = read_sweep(records)
    columns = [Column("configuration", "configuration")]
    for value in sweep.values:
        at = f"{sweep.name} = {value:g}"
        columns += [
            Column(f"iou_{value:g}", f"IoU at {value:g}", "%", None, True, f"{at}: mean ± sd."),
            Column(
                f"balanced_accuracy_{value:g}",
                f"accuracy at {value:g}",
                "%",
                None,
                True,
                f"{at}: balanced accuracy of the image-level prediction, mean ± sd.",
            ),
        ]
    of_value = {record.sweep_value: record for record in records}
    several = len(sweep.values) > 1
    if several:
        columns += _drop_columns(sweep)
    rows = []
    for row in sweep.rows:
        cells = [Cell(row.configuration.name)]
        for value in sweep.values:
            states = row.states[value]
            for by_seed, spell_out in ((row.iou[value], True), (row.accuracy[value], False)):
                cell = summary_cell(by_seed, states, spell_out=spell_out)
                if spell_out and states:
                    here = of_value[value]
                    cell = with_class_state(
                        cell, here, row.configuration.name, here.main_class, sweep.objective
                    )
                cells.append(cell if states else replace(cell, text=ABSENT))
        if several:
            cells += _drop_cells(sweep, row)
        rows.append(tuple(cells))
    caption = (
        f"IoU is {sweep.measure} on the test split. Accuracy is balanced accuracy of the "
        "image-level prediction. Cells are mean ± sample standard deviation over the seeds of "
        f"healthy trials. The sweep varies {sweep.name}."
    )
    if several:
        caption += (
            f" The drop is positive if IoU falls as {sweep.name} rises. It is paired by seed, with "
            "a 95 % Student-t interval and a paired t-test, Holm-corrected over the rows. If one "
            "drop's interval excludes 0 and another's does not, that is no evidence that the two "
            "drops differ."
        )
    return Table("sweep", f"Sweep of {sweep.name}", tuple(columns), tuple(rows), caption)


def _listed(names: Sequence[str], limit: int = 10) -> str:
    """Join with commas; name up to `limit` and count the rest."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _change(row: SweepRow) -> str:
    summary = row.drop.summary
    sign = 1 if summary.mean > 0 else -1
    ends = sorted(sign * end for end in (summary.low, summary.high) if end is not None)
    basis = " to ".join(points(end) for end in ends)
    verb = "loses" if sign > 0 else "gains"
    return f"{row.configuration.name} {verb} {points(abs(summary.mean))} points ({basis})"


def _not_judged(sweep: SweepRecord) -> str:
    """Name the configurations that have no interval, e.g. because trials collapsed at one end."""
    names = [row.configuration.name for row in sweep.rows if row.drop.summary.low is None]
    if not names:
        return ""
    return f" (not judged: {_listed(names)}, with fewer than two seeds healthy at both ends)"


def sweep_headlines(records: Sequence[StudyRecord]) -> list[str]:
    """Say for which configurations the drop's interval excludes 0, and for which it does not.

    Args:
        records: one per value of the sweep; errors as in `read_sweep`.

    Returns:
        One or two sentences, plain text; none if no drop has an interval.

    """
    sweep = read_sweep(records)
    judged = [row for row in sweep.rows if row.drop.summary.low is not None]
    if len(sweep.values) < 2 or not judged:
        return []
    sure = [row for row in judged if not row.drop.interval_includes_zero]
    sure.sort(key=lambda row: -row.drop.summary.mean)
    first = (
        f"As {sweep.name} goes from {sweep.values[0]:g} to {sweep.values[-1]:g}, the 95\u00a0% "
        f"interval of the change in {sweep.measure}, paired by seed, excludes 0 for "
        f"{len(sure) or 'none'} of {len(judged)} "
        f"configuration{'s' if len(judged) > 1 else ''}{_not_judged(sweep)}"
    )
    if sure:
        kept = sum(row.corrected_p is not None and row.corrected_p < 0.05 for row in sure)
        first += f": {_listed([_change(row) for row in sure])}"
        first += f"; for {kept or 'none'} of them after Holm's correction"
    left = [row for row in judged if row.drop.interval_includes_zero]
    if not left:
        return [first + "."]
    counts = sorted({row.drop.summary.n for row in left})
    seeds = " to ".join(str(n) for n in (counts[0], counts[-1])[: len(counts)])
    who = f": {_listed([row.configuration.name for row in left])}" if sure else ""
    return [
        first + ".",
        f"For the {'other ' if sure else ''}{len(left)}, {seeds} paired seeds leave open whether "
        f"they lose anything{who}.",
    ]
