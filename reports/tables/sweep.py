"""The dial's table and sentences: what each configuration loses as the data are turned.

The drop is the IoU at the lowest value less that at the highest, and no slope is fitted: the way
between need not be straight.
"""

from collections.abc import Sequence
from dataclasses import replace

from reports.results.study_record import StudyRecord
from reports.results.sweep import Dial, DialRow, read_dial
from reports.tables.cells import (
    ABSENT,
    difference_cell,
    equals,
    p_value,
    points,
    summary_cell,
    worst_state,
)
from reports.tables.model import Cell, Column, Table


def _drop_columns(dial: Dial) -> list[Column]:
    header = f"IoU at {dial.values[0]:g} less at {dial.values[-1]:g} [95 %]"
    return [
        Column("drop", header, "points", None, True, "By seed: mean ± sd and its t interval."),
        Column(
            "holm_p", "Holm p", numeric=True,
            about="Two-sided paired t-test of the drop, corrected over all rows.",
        ),
    ]  # fmt: skip


def _drop_cells(dial: Dial, row: DialRow) -> tuple[Cell, Cell]:
    """Write the drop, with its n where trials are missing at one of the two ends, and its p."""
    states = row.states[dial.values[0]] + row.states[dial.values[-1]]
    cell = difference_cell(row.drop, states)
    if worst_state(states) and row.drop.summary.n:
        cell = replace(cell, text=f"{cell.text} ({equals('n', row.drop.summary.n)})")
    # The least drop is no merit by itself: who starts at nothing has nothing to lose.
    p = Cell(p_value(row.corrected_p), data={"": row.corrected_p})
    return replace(cell, rank=None), p


def dial_table(records: Sequence[StudyRecord]) -> Table:
    """Build the table: a row per configuration; IoU and accuracy per dial value, and the drop.

    Args:
        records: One per dial value; see ``dial_record.read_dial`` for what raises.

    """
    dial = read_dial(records)
    columns = [Column("configuration", "configuration")]
    for value in dial.values:
        at = f"{dial.name} = {value:g}"
        columns += [
            Column(f"iou_{value:g}", f"IoU at {value:g}", "%", None, True, f"{at}: mean ± sd."),
            Column(f"balanced_accuracy_{value:g}", f"accuracy at {value:g}", "%", None, True,
                   f"{at}: balanced accuracy of the image-level prediction, mean ± sd."),
        ]  # fmt: skip
    turned = len(dial.values) > 1
    if turned:
        columns += _drop_columns(dial)
    rows = []
    for row in dial.rows:
        cells = [Cell(row.configuration.name)]
        for value in dial.values:
            states = row.states[value]
            for by_seed, spell_out in ((row.iou[value], True), (row.accuracy[value], False)):
                cell = summary_cell(by_seed, states, spell_out=spell_out)
                cells.append(cell if states else replace(cell, text=ABSENT))
        if turned:
            cells += _drop_cells(dial, row)
        rows.append(tuple(cells))
    caption = (
        f"IoU is {dial.measure} on the test split; accuracy is balanced accuracy of the "
        "image-level prediction; mean ± sample standard deviation over seeds. What is varied: "
        f"{dial.name}. Means are over healthy trials alone."
    )
    if turned:
        caption += (
            " The drop is positive where IoU falls as the dial rises; it is paired by seed, with a "
            "95 % Student-t interval and a paired t-test, Holm-corrected over the rows. One drop "
            "whose interval excludes 0 beside one whose does not is no evidence that the two "
            "differ."
        )
    return Table("dial", f"Along {dial.name}", tuple(columns), tuple(rows), caption)


def _listed(names: Sequence[str], limit: int = 10) -> str:
    """Join with commas; of more than ``limit``, say how many follow."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _change(row: DialRow) -> str:
    summary = row.drop.summary
    sign = 1 if summary.mean > 0 else -1
    ends = sorted(sign * end for end in (summary.low, summary.high) if end is not None)
    basis = " to ".join(points(end) for end in ends)
    verb = "loses" if sign > 0 else "gains"
    return f"{row.configuration.name} {verb} {points(abs(summary.mean))} points ({basis})"


def _not_judged(dial: Dial) -> str:
    """Name the configurations that have no interval; a collapse at one end is a reason for it."""
    names = [row.configuration.name for row in dial.rows if row.drop.summary.low is None]
    if not names:
        return ""
    return f" (not judged, as fewer than two seeds are healthy at both ends: {_listed(names)})"


def dial_headlines(records: Sequence[StudyRecord]) -> list[str]:
    """Say which configurations' drop is sure to be one, and for which the seeds leave it open.

    Args:
        records: One per dial value; see ``dial_record.read_dial`` for what raises.

    Returns:
        One or two sentences, plain text; none where no drop has an interval.

    """
    dial = read_dial(records)
    judged = [row for row in dial.rows if row.drop.summary.low is not None]
    if len(dial.values) < 2 or not judged:
        return []
    sure = [row for row in judged if not row.drop.interval_includes_zero]
    sure.sort(key=lambda row: -row.drop.summary.mean)
    first = (
        f"As {dial.name} goes from {dial.values[0]:g} to {dial.values[-1]:g}, the 95\u00a0% "
        f"interval of the change in {dial.measure}, paired by seed, excludes 0 for "
        f"{len(sure) or 'none'} of {len(judged)} "
        f"configuration{'s' if len(judged) > 1 else ''}{_not_judged(dial)}"
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
