"""A table for people, independent of any format: columns, cells, and the texts in cells.

Shares are written as percent points, spreads with their n, states as words.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.names import MEASURES, NEVER_PREDICTED, PLAIN, UNHEALTHY, of_few_classes
from reports.pairing import Pair
from reports.results.study_record import StudyRecord
from reports.statistics import PairedDifference, Summary, summarise_pairs

ABSENT = "–"

CellValue = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: the name in CSV.
        header: the name for people.
        unit: shown after the header, e.g. `"%"`.
        higher_is_better: which cell is best: the highest (True), the lowest (False), none (None).
        numeric: whether cells are set flush right.
        about: one sentence on the figure's meaning; a tooltip in HTML.

    """

    key: str
    header: str
    unit: str = ""
    higher_is_better: bool | None = None
    numeric: bool = False
    about: str = ""

    @property
    def heading(self) -> str:
        """The header with its unit."""
        return f"{self.header} [{self.unit}]" if self.unit else self.header


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: the text for people.
        rank: the figure by which the column's best cell is found; None takes no part.
        data: figures for CSV by suffix of the column's key (`""` for the key itself). Empty: the
            text.
        state: `""`, or how the cell stands out: `failed`, `collapsed`, `missing`, `partial`.
        best: set by `mark_best`.

    """

    text: str
    rank: float | None = None
    data: Mapping[str, CellValue] = field(default_factory=dict)
    state: str = ""
    best: bool = False


class LongRows(Sequence[tuple[Cell, ...]]):
    """The rows of a long table, made when they are asked for (`reports.tables.long`)."""


@dataclass(frozen=True)
class Table:
    """A table with its caption; every row has one cell per column.

    Attributes:
        name: the file's name without its ending; also the LaTeX label.
        title: one line.
        columns: from left to right.
        rows: from top to bottom.
        caption: how to read the table.
        notes: sentences below it.

    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...] | LongRows
    caption: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows[:1] if isinstance(self.rows, LongRows) else self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: a row of {len(row)} cells, {len(self.columns)} columns"
                )


def mark_best(table: Table, within: str | None = None) -> Table:
    """Mark the best cells of every column whose `higher_is_better` is set; mark all ties.

    Args:
        table: the table.
        within: the key of a column; only rows that agree in it are compared. None: all rows.

    Returns:
        The table with `best` set. If fewer than two cells are ranked, none is the best; nor is an
        IoU, an accuracy or a gain of 0.

    """
    keys = [column.key for column in table.columns]
    groups = [row[keys.index(within)].text if within else "" for row in table.rows]
    best: dict[tuple[str, int], float] = {}
    for group in set(groups):
        rows = [row for row, of in zip(table.rows, groups, strict=True) if of == group]
        for position, column in enumerate(table.columns):
            ranks = [r for row in rows if (r := row[position].rank) is not None]
            ranks = [rank for rank in ranks if not math.isnan(rank)]
            if column.higher_is_better is not None and len(ranks) > 1:
                best[group, position] = max(ranks) if column.higher_is_better else min(ranks)
                if column.higher_is_better and best[group, position] == 0:
                    del best[group, position]
    marked = tuple(
        tuple(
            cell if is_best == cell.best else replace(cell, best=is_best)
            for position, cell in enumerate(row)
            for is_best in [cell.rank is not None and cell.rank == best.get((group, position))]
        )
        for row, group in zip(table.rows, groups, strict=True)
    )
    return replace(table, rows=marked)


def points(share: float | None, decimals: int = 1, *, signed: bool = False) -> str:
    """Write a share as percent points, with a real minus sign.

    Example:
        >>> points(0.1234), points(-0.05, signed=True), points(None)
        ('12.3', '−5.0', '–')

    """
    if share is None or math.isnan(share):
        return ABSENT
    text = f"{100 * share:{'+' if signed else ''}.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(share: float) -> str:
    """Write a share in percent with a space that no line breaks at."""
    return f"{points(share)}\u00a0%"


def equals(name: str, value: str | int) -> str:
    """Write `n = 3` or `p < 0.001` with spaces that no line breaks at."""
    text = str(value)
    return f"{name}\u00a0<\u00a0{text[1:]}" if text[0] == "<" else f"{name}\u00a0=\u00a0{text}"


def mean_and_spread(summary: Summary, *, signed: bool = False) -> str:
    """Write `mean ± sd` in percent points; the mean alone if n = 1.

    Example:
        >>> mean_and_spread(Summary(0.2, 0.01, 3, 0.175, 0.225))
        '20.0 ± 1.0'

    """
    text = points(summary.mean, signed=signed)
    return text if summary.sd is None else f"{text} ± {points(summary.sd)}"


def bounds(low: float | None, high: float | None) -> str:
    """Write an interval in percent points; empty without one."""
    if low is None or high is None:
        return ""
    return f"[{points(low, signed=True)}, {points(high, signed=True)}]"


def p_value(p: float | None) -> str:
    """Write a p-value with three decimals.

    Example:
        >>> p_value(0.0001), p_value(0.0421), p_value(None)
        ('<0.001', '0.042', '–')

    """
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def count_text(states: Counter[str]) -> str:
    """Write how many of the planned trials a mean includes, and the states of the others.

    Example:
        >>> count_text(Counter(ok=2, failed=1)), count_text(Counter(ok=3))
        ('2 of 3, 1 failed', '3 of 3')

    """
    total = sum(states.values())
    rest = [f"{states[state]} {state}" for state in UNHEALTHY if states.get(state)]
    return ", ".join([f"{states.get('ok', 0)} of {total}", *rest])


def worst_state(states: Counter[str]) -> str:
    """Return the state of a row: empty if all trials are healthy, `partial` if some are."""
    bad = [state for state in UNHEALTHY if states.get(state)]
    if not bad:
        return ""
    return "partial" if states.get("ok") else bad[0]


def state_text(states: Counter[str]) -> str:
    """Write the states of unhealthy trials: `failed`, or `2 failed, 1 missing`."""
    bad = [state for state in UNHEALTHY if states.get(state)]
    if len(bad) == 1:
        return bad[0]
    return ", ".join(f"{states[state]} {state}" for state in bad)


def summary_cell(
    by_seed: Mapping[Pair, float], states: Counter[str], *, spell_out: bool = False
) -> Cell:
    """Make the cell of a figure over seeds; only a row with all its seeds can be the best.

    Args:
        by_seed: the figure of the healthy trials by seed, or by seed and fold.
        states: how the planned trials ended.
        spell_out: whether a partial cell names the states of the trials it lacks.

    """
    summary = summarise_pairs(by_seed)
    data = {"mean": summary.mean, "sd": summary.sd, "n": summary.n, "expected": states.total()}
    text = mean_and_spread(summary)
    if spell_out and worst_state(states):
        text += f" ({count_text(states)})"
    return _summary_cell(summary, text, data, states)


def difference_cell(difference: PairedDifference, states: Counter[str]) -> Cell:
    """Make the cell of a paired difference: mean, spread, interval; CSV holds its p as well."""
    summary = difference.summary
    data = {
        "mean": summary.mean,
        "sd": summary.sd,
        "n": summary.n,
        "low": summary.low,
        "high": summary.high,
        "p": difference.p,
    }
    parts = mean_and_spread(summary, signed=True), bounds(summary.low, summary.high)
    return _summary_cell(summary, " ".join(part for part in parts if part), data, states)


def _summary_cell(
    summary: Summary, text: str, data: Mapping[str, CellValue], states: Counter[str]
) -> Cell:
    state = worst_state(states)
    if not states.get("ok"):
        return Cell(state_text(states), None, data, state)
    if summary.n == 0:
        return Cell(ABSENT, None, data, state)
    return Cell(text, None if state else summary.mean, data, state)


def count_cell(states: Counter[str]) -> Cell:
    """Make the cell of a row's number of healthy trials: `2 of 3`."""
    data = {"ok": states["ok"], "planned": states.total()}
    bad = {state: states[state] for state in UNHEALTHY if state != "cancelled" or states[state]}
    text = f"{states['ok']} of {states.total()}"
    return Cell(text, data={**data, **bad}, state=worst_state(states))


def share_cell(share: float | None, decimals: int = 1) -> Cell:
    """Make the cell of a share in percent points; `–` for None and NaN."""
    return Cell(points(share, decimals), data={"": share})


def mean_cell(values: Collection[float], decimals: int, scale: float = 1.0) -> Cell:
    """Return a cell with the mean, shown in units of `scale`; none without values."""
    mean = sum(values) / len(values) if values else None
    said = ABSENT if mean is None else f"{mean / scale:,.{decimals}f}".replace(",", "\u202f")
    return Cell(said, data={"": mean})


def p_cell(p: float | None) -> Cell:
    """Make the cell of a p-value; `–` for None."""
    return Cell(p_value(p), data={"": p})


def absent_cell(suffix: str = "") -> Cell:
    """Make the cell of a figure that a row does not have."""
    return Cell(ABSENT, data={suffix: None})


def published_notes(sources: Iterable[str | None]) -> list[str]:
    """Write a note for each work whose published figures a table shows."""
    return [
        f"Published: {source}. Another data set and other networks: compare orders, not levels."
        for source in sorted({source or "" for source in sources} - {""})
    ]


STATE = "never-predicted"


def with_class_state(
    cell: Cell,
    record: StudyRecord,
    configuration: str,
    class_name: str,
    figure: str,
    *,
    chain: str = PLAIN,
) -> Cell:
    """Return the cell of a figure of a class, marked if its maps are empty by gating.

    An IoU becomes `never predicted`, or names how many of its trials never predict the class. No
    such cell is the best of its column, whatever it holds: what marks nothing has no false
    positives either. Numbers for CSV stay.

    Args:
        cell: the cell as it is otherwise.
        record: the study.
        configuration: the configuration of its row.
        class_name: the class of its row.
        figure: the figure that it shows.
        chain: the chain of its row.

    """
    seeds = record.never_predicted(configuration, class_name, chain=chain)
    if not seeds:
        return cell
    if figure not in MEASURES:
        return replace(cell, rank=None)
    healthy = len(record.healthy(configuration, chain))
    if len(seeds) == healthy:
        return replace(cell, text=NEVER_PREDICTED, rank=None, state=STATE)
    text = f"{cell.text} ({len(seeds)} of {healthy} {NEVER_PREDICTED})"
    return replace(cell, text=text, rank=None)


def never_predicted_notes(record: StudyRecord) -> list[str]:
    """Name the classes that configurations never predict, a sentence a class."""
    notes = []
    for name in record.classes if len(record.classes) == 1 else record.classes[:-1]:
        who = []
        for one in record.configurations:
            seeds = record.never_predicted(one.name, name)
            if seeds and len(seeds) == len(record.healthy(one.name)):
                who.append(one.name)
            elif seeds:
                who.append(f"{one.name} (seed{'s' * (len(seeds) > 1)} {_listed(seeds)})")
        if who:
            notes.append(
                f"{NEVER_PREDICTED.capitalize()}: {name}, in none of the {_held(record, name)} "
                f"test images that hold it, by {'; '.join(who)}. Gating by the prediction "
                "(cam.gating: predicted) leaves its maps empty there, so their IoU of 0 is no "
                "finding about the maps."
            )
    return of_few_classes(notes, "{count} further classes are never predicted by some rows.")


def _listed(seeds: list[Pair]) -> str:
    return ", ".join(map(str, seeds))


def _held(record: StudyRecord, name: str) -> int:
    return max(
        int(held)
        for one in record.configurations
        for held in record.by_seed(one.name, "images_with_class", class_name=name).values()
    )
