"""Many classes on a page: means in sight, classes folded."""

from reports.names import MEAN_OF_CLASSES
from reports.page.folding import split_by_class
from reports.tables.cells import Cell, Column, Table


def table_of(names, rows=("alone", "taught")):
    columns = (Column("configuration", "configuration"), Column("class", "class"))
    cells = tuple((Cell(one), Cell(name)) for one in rows for name in names)
    return Table("strategies", "Strategies", columns, cells, "How to read it.", ("A note.",))


def test_six_classes_stay_in_sight():
    table = table_of([*"abcdef", MEAN_OF_CLASSES])
    assert split_by_class(table) == (table, None)


def test_of_seven_the_means_stay_and_every_other_row_is_folded_in_its_order():
    seen, folded = split_by_class(table_of([*"abcdefg", MEAN_OF_CLASSES]))
    assert [[cell.text for cell in row] for row in seen.rows] == [
        ["alone", MEAN_OF_CLASSES], ["taught", MEAN_OF_CLASSES],
    ]  # fmt: skip
    assert (seen.caption, seen.notes) == ("How to read it.", ("A note.",))
    assert [row[0].text + row[1].text for row in folded.rows] == [
        one + name for one in ("alone", "taught") for name in "abcdefg"
    ]
    assert folded.title == "Strategies: 7 classes"
    assert (folded.caption, folded.notes) == ("", ())


def test_a_table_without_means_is_folded_whole():
    seen, folded = split_by_class(table_of("abcdefgh"))
    assert seen.rows == ()
    assert len(folded.rows) == 16


def test_a_table_without_classes_is_shown_whole():
    table = Table("t", "t", (Column("seed", "seed"),), tuple((Cell(str(n)),) for n in range(30)))
    assert split_by_class(table) == (table, None)
