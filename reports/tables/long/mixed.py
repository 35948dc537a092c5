"""Rows whose trials were not all made by the same code, packages and kind of processor."""

from collections.abc import Mapping
from dataclasses import replace

from reports.tables.cells import Cell, Table
from reports.tables.long.columns import ColumnRows

MIXED = "‡"
"""Marks such a row."""


def mark_mixed(table: Table, mixed: Mapping[str, str]) -> Table:
    """Mark the rows of configurations whose trials differ in their origin; add a note for each.

    Args:
        table: rows are marked in its column `configuration`, if it has one.
        mixed: configuration -> a sentence, see `reports.results.origins`.

    """
    keys = [column.key for column in table.columns]
    if not mixed:
        return table
    rows = table.rows
    if "configuration" in keys:
        at = keys.index("configuration")
        if isinstance(rows, ColumnRows):
            rows = rows.with_texts(at, lambda name: f"{name} {MIXED}" if name in mixed else name)
        else:
            rows = tuple(
                tuple(_marked(cell) if n == at and cell.text in mixed else cell for n, cell in each)
                for each in map(enumerate, rows)
            )
    notes = tuple(f"{MIXED} {sentence}" for sentence in mixed.values())
    return replace(table, rows=rows, notes=(*table.notes, *notes))


def _marked(cell: Cell) -> Cell:
    return replace(cell, text=f"{cell.text} {MIXED}", data=cell.data or {"": cell.text})
