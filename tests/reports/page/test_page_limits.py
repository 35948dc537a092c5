"""What a page leaves out of a large study: never the best, never what went wrong."""

import pytest

from reports.page.limits import fewer, shortened
from reports.results.reading import read_studies
from reports.tables.cells import Cell, Column, Table


@pytest.fixture(scope="module")
def record(ledger):
    return read_studies(ledger.results)[0]


def test_the_best_configurations_stay_with_what_they_are_compared_with(record):
    (few,), said = fewer([record], 4)
    names = [one.name for one in record.configurations]
    compared = {"CNN alone", "ViT alone"}
    means = {}
    for name in set(names) - compared:
        values = list(record.by_seed(name, record.objective).values())
        means[name] = sum(values) / len(values) if values else -1
    best = sorted(means, key=lambda name: -means[name])[:2]
    assert [one.name for one in few.configurations] == [
        name for name in names if name in compared | set(best)
    ]
    assert f"Shown are 4 of {len(names)} configurations: " in said


def test_nothing_is_left_out_of_a_study_that_fits(record):
    (few,), said = fewer([record], len(record.configurations))
    assert few.configurations == record.configurations
    assert said == ""


def table(count: int, higher: bool | None, bad: tuple[int, ...] = ()) -> Table:
    rows = [
        (
            Cell(f"row {place}", state="failed" if place in bad else ""),
            Cell(str(place), rank=None if place in bad else float((place * 7) % count)),
        )
        for place in range(count)
    ]
    columns = (Column("name", "name"), Column("iou", "IoU", "%", higher))
    return Table("things", "Things", columns, tuple(rows), notes=("kept",))


def names(shown: Table) -> list[str]:
    return [row[0].text for row in shown.rows]


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_rows_stay_in_their_order(higher):
    shown = shortened(table(10, higher), "p-things", 3)
    wanted = (9, 8, 7) if higher else (0, 1, 2)
    assert names(shown) == [f"row {p}" for p in range(10) if (p * 7) % 10 in wanted]
    assert shown.notes == (
        "kept",
        "3 of 10 rows: the best by IoU. All are in tables/p-things.csv.",
    )


def test_rows_that_did_not_end_well_stay_up_to_half():
    shown = shortened(table(10, True, bad=(1, 5, 8)), "things", 4)
    assert names(shown)[:1] == ["row 1"]
    assert "row 5" in names(shown)
    assert "row 8" not in names(shown)
    assert len(shown.rows) == 4


def test_a_table_that_ranks_nothing_keeps_its_first_rows():
    assert names(shortened(table(9, None), "things", 2)) == ["row 0", "row 1"]


def test_a_table_that_fits_is_left_as_it_is():
    whole = table(10, True)
    assert shortened(whole, "things", 10) is whole
