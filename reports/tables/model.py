"""A table for people: columns, cells and the numbers behind them, independent of any format."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
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
        The table with `best` set. If fewer than two cells are ranked, none is the best.

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
    marked = tuple(
        tuple(
            replace(cell, best=cell.rank is not None and cell.rank == best.get((group, position)))
            for position, cell in enumerate(row)
        )
        for row, group in zip(table.rows, groups, strict=True)
    )
    return replace(table, rows=marked)
