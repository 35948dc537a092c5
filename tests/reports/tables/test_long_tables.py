"""Tables kept by column: their cells and files are those of rows of cells."""

import math

import pytest

from reports.page.folding import split_by_class
from reports.page.limits import shortened
from reports.tables.cells import Cell, Column, Table
from reports.tables.long import CellColumn, ColumnRows, mark_mixed
from reports.tables.rendering import to_csv, to_html, to_latex, to_markdown

COLUMNS = (Column("configuration", "configuration"), Column("iou", "IoU", "%", None, True))
NAMES = ["a_b", "=c", "λ ← x", "a_b"]
VALUES = [0.5, math.nan, 0.25, 1.0]
STATES = ["", "failed", "never-predicted", "partial"]


def by_column() -> Table:
    iou = CellColumn(["50.0", "failed", "25.0 (−1.0)", "100.0"], {"": VALUES}, STATES)
    return Table("things", "Things", COLUMNS, ColumnRows([CellColumn(NAMES), iou]), "How.")


def by_row() -> Table:
    rows = tuple(
        (Cell(name), Cell(text, data={"": None if value != value else value}, state=state))
        for name, text, value, state in zip(
            NAMES, ["50.0", "failed", "25.0 (−1.0)", "100.0"], VALUES, STATES, strict=True
        )
    )
    return Table("things", "Things", COLUMNS, rows, "How.")


@pytest.mark.parametrize("render", [to_csv, to_markdown, to_latex, to_html])
def test_a_table_by_column_is_written_as_one_by_row(render):
    assert render(by_column()) == render(by_row())


def test_its_rows_are_cells_when_they_are_asked_for():
    assert tuple(by_column().rows) == by_row().rows
    assert by_column().rows[1:3] == by_row().rows[1:3]
    assert by_column().rows[-1] == by_row().rows[-1]


def test_a_page_shows_the_same_rows_of_both():
    assert shortened(by_column(), "f", 2).rows == shortened(by_row(), "f", 2).rows


def test_mixed_rows_are_marked_alike_in_both():
    mixed = {"a_b": "differs."}
    assert to_csv(mark_mixed(by_column(), mixed)) == to_csv(mark_mixed(by_row(), mixed))
    assert to_markdown(mark_mixed(by_column(), mixed)) == to_markdown(mark_mixed(by_row(), mixed))


def test_rows_of_many_classes_are_folded_alike_in_both():
    names = [*"ABCDEFG", "mean over classes"]
    columns = (Column("class", "class"), Column("iou", "IoU"))
    texts = [str(place) for place in range(8)]
    long = Table("t", "T", columns, ColumnRows([CellColumn(names), CellColumn(texts)]))
    short = Table("t", "T", columns, tuple(map(lambda *c: tuple(map(Cell, c)), names, texts)))
    for one, other in zip(split_by_class(long), split_by_class(short), strict=True):
        assert to_markdown(one) == to_markdown(other)
