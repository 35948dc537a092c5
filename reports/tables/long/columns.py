"""The rows of a long table by column: texts, numbers and states, cells only where they are shown.

A table of 100,000 trials has over a million cells. As objects they take a gigabyte, and making and
writing each takes longer than all computations of a page.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from reports.tables.cells import Cell, CellValue, LongRows, Table


@dataclass(frozen=True)
class CellColumn:
    """The cells of one column; none of them is ranked or the best.

    Attributes:
        texts: of each cell.
        data: figures for CSV by suffix, NaN for none; empty: the texts.
        states: of each cell; empty: none stands out.
        best: whether each cell is the best; empty: none is.

    """

    texts: Sequence[str]
    data: Mapping[str, Sequence[CellValue]] = field(default_factory=dict)
    states: Sequence[str] = ()
    best: Sequence[bool] = ()

    def cell(self, place: int) -> Cell:
        """Return one cell."""
        data = {suffix: _known(values[place]) for suffix, values in self.data.items()}
        return Cell(
            self.texts[place],
            data=data,
            state=self.states[place] if self.states else "",
            best=self.best[place] if self.best else False,
        )


def _known(value: CellValue) -> CellValue:
    return None if isinstance(value, float) and math.isnan(value) else value


class ColumnRows(LongRows):
    """Rows of cells that are made when they are asked for.

    Args:
        columns: from left to right, equally long.

    """

    def __init__(self, columns: Sequence[CellColumn]) -> None:
        self.columns = tuple(columns)
        self._count = len(columns[0].texts)
        if any(len(column.texts) != self._count for column in columns):
            raise ValueError("the columns of a table differ in their length")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> tuple[Cell, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[Cell, ...], ...]: ...
    def __getitem__(self, place: int | slice) -> tuple[Cell, ...] | tuple[tuple[Cell, ...], ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(self._count)))
        at = range(self._count)[place]
        return tuple(column.cell(at) for column in self.columns)

    def __iter__(self) -> Iterator[tuple[Cell, ...]]:
        return (self[place] for place in range(self._count))

    def with_texts(self, column: int, write: Callable[[str], str]) -> "ColumnRows":
        """Return the rows with other texts in a column; its figures stay."""
        one = self.columns[column]
        changed = replace(
            one, texts=[write(text) for text in one.texts], data=one.data or {"": one.texts}
        )
        return ColumnRows([*self.columns[:column], changed, *self.columns[column + 1 :]])

    def at(self, places: Sequence[int]) -> "ColumnRows":
        """Return some of the rows."""
        return ColumnRows(
            [
                CellColumn(
                    [one.texts[place] for place in places],
                    {k: [values[place] for place in places] for k, values in one.data.items()},
                    [one.states[place] for place in places] if one.states else (),
                    [one.best[place] for place in places] if one.best else (),
                )
                for one in self.columns
            ]
        )

    def standing_out(self, states: Sequence[str]) -> list[int]:
        """Return the places of rows with a cell whose state is none of some states."""
        found: set[int] = set()
        for column in self.columns:
            found.update(n for n, state in enumerate(column.states) if state not in states)
        return sorted(found)


def columns_of(table: Table) -> tuple[CellColumn, ...]:
    """Return the cells of any table by column."""
    if isinstance(table.rows, ColumnRows):
        return table.rows.columns
    if not table.rows:
        return tuple(CellColumn(()) for _ in table.columns)
    return tuple(map(_column, zip(*table.rows, strict=True)))


def rows_at(table: Table, places: Sequence[int]) -> tuple[tuple[Cell, ...], ...] | ColumnRows:
    """Return some rows of any table."""
    if isinstance(table.rows, ColumnRows):
        return table.rows.at(places)
    return tuple(table.rows[place] for place in places)


def _column(cells: Sequence[Cell]) -> CellColumn:
    texts = [cell.text for cell in cells]
    suffixes: dict[str, None] = {}
    for cell in cells:
        suffixes.update(dict.fromkeys(cell.data or ("",)))
    data = {
        suffix: [
            cell.data.get(suffix) if cell.data else cell.text if not suffix else None
            for cell in cells
        ]
        for suffix in suffixes
    }
    return CellColumn(texts, data, [cell.state for cell in cells], [cell.best for cell in cells])
