"""The digest inside a Parquet file."""

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.ledger.digest import is_whole, to_parquet

TABLE = pa.table(
    {"key": ["a", "b", None], "value": [0.5, None, 1.5], "histogram": [[1, 2], [3], []]}
).replace_schema_metadata({b"schema_version": b"6"})


@pytest.fixture
def content():
    return to_parquet(TABLE, {b"parts": b"[1]"})


def test_any_reader_reads_the_file(content):
    file = pq.ParquetFile(io.BytesIO(content))
    assert file.read().to_pydict() == TABLE.to_pydict()
    assert file.schema_arrow.metadata == TABLE.schema.metadata
    assert file.metadata.metadata[b"parts"] == b"[1]"
    assert is_whole(content) is True
    assert to_parquet(TABLE, {b"parts": b"[1]"}) == content


def test_no_flipped_bit_passes(content):
    """A bit of the key's own name hides the digest; that file is then one without a digest."""
    without = 0
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        whole = is_whole(bytes(damaged))
        assert whole is not True, position
        without += whole is None
    assert 0 < without <= 8 * len(b"wsss_digest" + b"\x18\x20")


def test_no_cut_lengthened_or_mixed_file_passes(content):
    chosen = random.Random(0)
    other = to_parquet(TABLE.slice(1), {b"parts": b"[1]"})
    assert is_whole(content + b"\0") is False
    assert is_whole(content[1:]) is False
    for _ in range(200):
        at = chosen.randrange(1, len(content) - 1)
        assert is_whole(content[:at]) is not True
        assert is_whole(content[:at] + bytes(8) + content[at + 8 :]) is not True
        assert is_whole(content[:at] + other[at:]) is not True or content[:at] == other[:at]


def test_a_file_that_others_wrote_has_no_digest():
    file = io.BytesIO()
    pq.write_table(TABLE, file)
    assert is_whole(file.getvalue()) is None
    assert is_whole(b"") is None


def test_a_value_that_looks_like_the_place_of_the_digest_does_no_harm():
    table = pa.table({"text": ["wsss_digest\x18\x20" + "0" * 32] * 3})
    content = to_parquet(table)
    assert is_whole(content) is True
    assert pq.read_table(io.BytesIO(content)).equals(table)
