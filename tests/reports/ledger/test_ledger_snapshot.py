"""Snapshots of small parts: the same rows as the parts themselves, whatever became of either."""

import os
import random

import pandas as pd
import pyarrow.parquet as pq
import pytest

from reports.ledger import snapshot as ledger_snapshot
from reports.ledger.digest import is_whole
from reports.ledger.parts import LedgerError, read_table, write_part

KEYS = [f"{place:03d}" for place in range(12)]


@pytest.fixture(autouse=True)
def few_are_worth_it(monkeypatch):
    monkeypatch.setattr(ledger_snapshot, "WORTH", 5)


def epochs(key: str, count: int = 2, loss: float = 1.0) -> list[dict]:
    return [
        {
            "trial_key": key,
            "epoch": epoch + 1,
            "loss": loss + int(key) + epoch / 10,
            "classification_loss": loss,
            "seconds": 1.0,
        }
        for epoch in range(count)
    ]


@pytest.fixture
def results(tmp_path):
    for key in KEYS:
        write_part(tmp_path, "history", key, epochs(key, 1 + int(key) % 3))
    return tmp_path


def snapshot(results):
    return results / "derived" / "history.parquet"


def from_parts(results, **how) -> pd.DataFrame:
    """What reading gives without a snapshot."""
    kept = snapshot(results).read_bytes() if snapshot(results).is_file() else None
    snapshot(results).unlink(missing_ok=True)
    found = read_table(results, "history", **how)
    if kept is not None:
        snapshot(results).write_bytes(kept)
    return found


def spoil_all_but(results, names):
    """Make every part but some unreadable, size and time as they were."""
    for part in (results / "ledger" / "history").iterdir():
        if part.stem not in names:
            state = part.stat()
            with part.open("r+b") as opened:
                opened.seek(-8, os.SEEK_END)
                opened.write(b"UNREADAB")
            os.utime(part, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_rows_of_unchanged_parts_come_from_the_snapshot(results):
    first = read_table(results, "history")
    assert snapshot(results).is_file()
    spoil_all_but(results, [])
    pd.testing.assert_frame_equal(read_table(results, "history"), first)


def test_columns_and_keys_are_chosen_from_it_alike(results):
    asked = {"keys": [*KEYS[3:9], "nobody"], "columns": ["loss", "trial_key"]}
    read_table(results, "history")
    found = read_table(results, "history", **asked)
    pd.testing.assert_frame_equal(found, from_parts(results, **asked))
    assert list(found.columns) == ["loss", "trial_key"]
    assert list(found["trial_key"].unique()) == KEYS[3:9]


def test_a_part_that_was_written_again_is_read_again(results):
    read_table(results, "history")
    write_part(results, "history", KEYS[4], epochs(KEYS[4], 4, loss=9.0))
    found = read_table(results, "history")
    of_part = found[found["trial_key"] == KEYS[4]]
    assert of_part["classification_loss"].tolist() == [9.0] * 4
    pd.testing.assert_frame_equal(found, from_parts(results))


def test_parts_that_came_and_went_are_seen_in_their_order(results):
    read_table(results, "history")
    (results / "ledger" / "history" / f"{KEYS[2]}.parquet").unlink()
    write_part(results, "history", "0005", epochs("0005"))
    found = read_table(results, "history")
    expected = sorted({*KEYS, "0005"} - {KEYS[2]})
    assert list(found["trial_key"].unique()) == expected
    pd.testing.assert_frame_equal(found, from_parts(results))


def test_many_new_parts_make_a_new_snapshot(results):
    read_table(results, "history", keys=KEYS[:6])
    for key in KEYS[6:]:
        write_part(results, "history", key, epochs(key))
    whole = read_table(results, "history")
    spoil_all_but(results, [])
    pd.testing.assert_frame_equal(read_table(results, "history"), whole)


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_a_damaged_snapshot_is_passed_over(results, content):
    first = read_table(results, "history")
    kept = snapshot(results).read_bytes()
    snapshot(results).write_bytes(kept[: len(kept) // 2] if content is None else content)
    pd.testing.assert_frame_equal(read_table(results, "history"), first)


def test_a_snapshot_that_differs_from_its_digest_is_passed_over_and_made_again(results):
    first = read_table(results, "history")
    content = snapshot(results).read_bytes()
    chosen = random.Random(0)
    for position in chosen.sample(range(8 * len(content)), 200):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        snapshot(results).write_bytes(changed)
        pd.testing.assert_frame_equal(read_table(results, "history"), first)
        assert is_whole(snapshot(results).read_bytes())


def test_a_snapshot_of_another_schema_version_is_passed_over(results):
    read_table(results, "history")
    (results / "ledger" / "history" / f"{KEYS[0]}.parquet").unlink()
    with pq.ParquetFile(snapshot(results)) as file:
        kept, about = file.read(), dict(file.metadata.metadata)
    with pq.ParquetWriter(snapshot(results), kept.schema) as writer:
        writer.write_table(kept)
        writer.add_key_value_metadata({b"parts": about[b"parts"], b"schema_version": b"4"})
    spoil_all_but(results, KEYS[:6])
    with pytest.raises(LedgerError, match="cannot be read"):
        read_table(results, "history")


def test_results_that_cannot_be_written_are_read_all_the_same(results):
    (results / "derived").write_text("in the way")
    assert len(read_table(results, "history")) == sum(1 + int(key) % 3 for key in KEYS)


def test_few_parts_leave_nothing_behind(tmp_path):
    for key in KEYS[:4]:
        write_part(tmp_path, "history", key, epochs(key))
    assert len(read_table(tmp_path, "history")) == 8
    assert not (tmp_path / "derived").exists()
