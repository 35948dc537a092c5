"""Rows of many small tables put together: the rows of the tables, and each repeated text once."""

import pyarrow as pa
import pytest

from reports.ledger import gathered as ledger_gathered
from reports.ledger.gathered import GatheredRows, decoded, gathered


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    monkeypatch.setattr(ledger_gathered, "_TOGETHER", 4)


def row(number: int, **more: object) -> pa.Table:
    texts = {"host": "node" if number % 3 else None, "key": f"k{number}"}
    return pa.Table.from_pylist([{**texts, "number": number, "content": b"%d" % number, **more}])


def test_the_rows_are_those_of_the_tables_in_their_order():
    tables = [row(number) for number in range(11)]
    whole = gathered(tables)
    assert decoded(whole).to_pylist() == [one.to_pylist()[0] for one in tables]


def test_a_text_that_repeats_is_kept_once_and_others_stay_texts():
    whole = gathered(row(number) for number in range(11))
    assert pa.types.is_dictionary(whole.schema.field("host").type)
    assert whole["host"].chunk(0).dictionary.to_pylist() == ["node"]
    assert whole.schema.field("key").type == pa.string()


def test_a_column_that_some_tables_lack_is_empty_there():
    tables = [row(number, late="x" if number > 5 else None) for number in range(9)]
    tables[2] = tables[2].drop_columns(["late"])
    found = decoded(gathered(tables)).to_pylist()
    assert [one["late"] for one in found] == [None] * 6 + ["x"] * 3


def test_columns_that_do_not_fit_together_are_refused():
    rows = GatheredRows()
    for number in range(6):
        rows.add(pa.table({"host": ["a"]}) if number < 4 else pa.table({"host": [1]}))
    with pytest.raises(pa.ArrowException):
        rows.table()
