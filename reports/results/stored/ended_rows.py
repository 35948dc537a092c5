"""The rows that seal trials, kept by column: a value is made when it is asked for.

A row of a hundred thousand trials has some thirty values, of which a page shows a few; as
dictionaries they take a gigabyte.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa


class EndedRows:
    """Rows of the table `trials` or `refined`.

    Args:
        table: the rows.

    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.names = tuple(table.column_names)
        self._columns: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, empty ones as None; equal texts are one object."""
        if name not in self._columns:
            self._columns[name] = _values(self._table[name])
        return self._columns[name]

    def value(self, name: str, place: int) -> Any:
        """Return one value; a row's settings are as long as all else, and few rows are asked."""
        if name not in self.names:
            raise KeyError(name)
        if name == "settings" and name not in self._columns:
            return self._table[name][place].as_py()
        return self.column(name)[place]

    def all(self) -> list[Mapping[str, Any]]:
        """Return the rows in their order."""
        return [EndedRow(self, place) for place in range(self._table.num_rows)]

    def by(self, key: str) -> dict[str, Mapping[str, Any]]:
        """Return each row by its value in a column; of equal values the last."""
        return {value: EndedRow(self, place) for place, value in enumerate(self.column(key))}


class EndedRow(Mapping[str, Any]):
    """One of many rows, by the names of columns."""

    __slots__ = ("_place", "_rows")

    def __init__(self, rows: EndedRows, place: int) -> None:
        self._rows, self._place = rows, place

    def __getitem__(self, name: str) -> Any:
        return self._rows.value(name, self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.names)

    def __len__(self) -> int:
        return len(self._rows.names)


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind):
        found: list[Any] = []
        known: dict[str, str] = {}
        for chunk in column.dictionary_encode().chunks:
            texts = [known.setdefault(text, text) for text in chunk.dictionary.to_pylist()]
            found += [None if n is None else texts[n] for n in chunk.indices.to_pylist()]
        return found
    series: pd.Series[Any] = column.to_pandas()
    return list(series.astype(object).where(series.notna(), None))
