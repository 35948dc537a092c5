"""A digest inside a Parquet file: every reader reads the file, and ours sees whether it is whole.

The footer holds, under the key `wsss_digest`, the BLAKE2b digest (RFC 7693, 128 bit) of the whole
file with zeros in the digest's own place. Parquet's page checksums cover data pages alone; this
digest covers the footer too, and with it names, types and statistics.
"""

import io
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsss_core.whole_files import ZEROS, fill_digest_of, holds_digest

_KEY = b"wsss_digest"
# Thrift's compact protocol, in which footers are written: after the key, field 2 of type binary,
# then its length, then the value.
_PLACE = _KEY + b"\x18" + bytes([len(ZEROS)])
_LEAN = {"compression": "none", "use_dictionary": False, "write_statistics": False}

TAIL = 4096
"""So many bytes at the end of a file hold its digest, unless its metadata are unusually long."""


def to_parquet(
    table: pa.Table | Iterable[pa.Table],
    about: Mapping[bytes, bytes] | None = None,
    *,
    lean: bool = False,
    rows: int | None = None,
) -> bytes:
    """Return a table as the content of a Parquet file that holds its own digest.

    Args:
        table: rows and schema; the schema's metadata are kept. Several, at least one, of one schema
            are written one after another.
        about: more entries for the file's metadata.
        lean: write what few rows need: neither compression nor dictionaries nor statistics, which
            cost a reader of many small files most of its time.
        rows: of a group that is read at once; None: as many as pyarrow writes.

    """
    sink = io.BytesIO()
    options: dict[str, Any] = _LEAN if lean else {"compression": "zstd"}
    tables = iter([table] if isinstance(table, pa.Table) else table)
    first = next(tables)
    with pq.ParquetWriter(sink, first.schema, **options) as writer:
        for one in chain([first], tables):
            writer.write_table(one, row_group_size=rows)
        writer.add_key_value_metadata({**(about or {}), _KEY: ZEROS})
    fill_digest_of(sink, _PLACE)
    return sink.getvalue()


def is_whole(content: bytes) -> bool | None:
    """Return whether the content of a Parquet file agrees with its digest; None if it has none."""
    return holds_digest(content, _PLACE)


def digest_in(tail: bytes) -> str | None:
    """Return the digest that a Parquet file holds, given its last bytes; None if they lack it.

    >>> digest_in(to_parquet(pa.table({"a": [1]}))[-TAIL:]) is not None, digest_in(b"PAR1")
    (True, None)
    """
    at = tail.rfind(_PLACE) + len(_PLACE)
    if at < len(_PLACE) or len(tail) < at + len(ZEROS):
        return None
    return tail[at : at + len(ZEROS)].decode(errors="replace")
