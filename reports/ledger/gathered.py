"""Rows of many small tables as one table, in memory that is in proportion to what differs.

Tables of one row each keep buffers of their own, and the same settings, package versions and
descriptions again and again. So tables are put together some hundred at a time, and every text that
repeats is kept once, as a dictionary column of Arrow.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

_TOGETHER = 1024  # tables, or rows, that are put together at once


class GatheredRows:
    """Gathers tables in their order; columns whose texts repeat become dictionaries."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._chunks: list[pa.Table] = []
        self._texts: dict[str, dict[str, int]] = {}
        self._apart: set[str] = set()

    def add(self, table: pa.Table) -> None:
        """Add the rows of a table."""
        self._waiting.append(table)
        self._rows += table.num_rows
        if len(self._waiting) >= _TOGETHER or self._rows >= _TOGETHER:
            self._put_together()

    def table(self) -> pa.Table | None:
        """Return all rows; None of no table.

        Raises:
            pyarrow.ArrowException: tables do not fit together.

        """
        self._put_together()
        if not self._chunks:
            return None
        whole = concatenated(self._chunks)
        for place, name in enumerate(whole.column_names):
            if (known := self._texts.get(name)) is not None:
                texts = pa.array(list(known), pa.string())
                codes = whole.column(place).combine_chunks()
                column = pa.DictionaryArray.from_arrays(codes, texts)
                whole = whole.set_column(place, name, column)
        return whole

    def _put_together(self) -> None:
        if not self._waiting:
            return
        whole = concatenated(self._waiting).combine_chunks()
        self._waiting, self._rows = [], 0
        columns = [self._coded(name, whole[name]) for name in whole.column_names]
        self._chunks.append(pa.table(columns, names=whole.column_names))

    def _coded(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
        """Return a column of text as numbers of the texts; any other column as it is."""
        if not _is_text(column.type):
            if name in self._texts and not pa.types.is_null(column.type):
                raise pa.ArrowInvalid(f"column {name!r} is text in some tables alone")
            return column
        if name in self._apart:
            return column.cast(pa.string())
        coded = column.dictionary_encode().combine_chunks()
        if isinstance(coded, pa.ChunkedArray):
            coded = pa.concat_arrays(coded.chunks) if coded.num_chunks else pa.nulls(0, coded.type)
        if name not in self._texts:
            there = any(
                name in chunk.column_names and not pa.types.is_null(chunk.schema.field(name).type)
                for chunk in self._chunks
            )
            if there or 2 * len(coded.dictionary) > max(len(column), 2):
                self._apart.add(name)
                return column.cast(pa.string())
        known = self._texts.setdefault(name, {})
        numbers = [known.setdefault(t, len(known)) for t in coded.dictionary.to_pylist()]
        return pa.array(np.array(numbers, np.int32)).take(coded.indices)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind))


def decoded(table: pa.Table) -> pa.Table:
    """Return a table whose dictionaries of text are texts again."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.with_type(field.type.value_type), column)
    return table


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of at least one table after another; a column that one lacks is empty there.

    Thousands of parts agree in their schema, and comparing it is quicker than unifying it.
    """
    runs: list[list[pa.Table]] = []
    for table in tables:
        if runs and runs[-1][0].schema.equals(table.schema):
            runs[-1].append(table)
        else:
            runs.append([table])
    each = [run[0] if len(run) == 1 else pa.concat_tables(run) for run in runs]
    return pa.concat_tables(each, promote_options="permissive")


def gathered(tables: Iterable[pa.Table]) -> pa.Table | None:
    """Return the rows of tables as one table, see `GatheredRows`; None of no table."""
    rows = GatheredRows()
    for table in tables:
        rows.add(table)
    return rows.table()
