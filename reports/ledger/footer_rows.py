"""The rows of a small part once more in its footer, as Arrow messages: read twenty times as fast.

Decoding the thirty columns of a one-row Parquet file takes a millisecond, whatever it holds. Tables
of which thousands of parts are read together therefore keep their rows a second time under the key
`wsss_rows` of the file's metadata: the schema and the rows as messages of Arrow's IPC format, in
base64 as Parquet's metadata are text. Other readers pass over the key. The digest of the file
covers both copies, and one writer makes them of one table.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache

import pyarrow as pa

from reports.ledger.digest import to_parquet

_KEY = b"wsss_rows"
_BEFORE = _KEY + b"\x18"  # as in `reports.ledger.digest`: the length follows as a varint
_LENGTH = 4  # bytes that say how long the message of the schema is


def with_footer_rows(table: pa.Table, about: dict[bytes, bytes]) -> bytes:
    """Return a small table as the content of a Parquet file with its rows in the footer.

    Args:
        table: a few rows.
        about: more entries for the file's metadata.

    """
    batches = table.combine_chunks().to_batches()
    if batches:
        schema = nullable(table.schema).with_metadata(table.schema.metadata)
        rows = pa.RecordBatch.from_arrays(batches[0].columns, schema=schema).serialize()
        kind = schema.serialize().to_pybytes()
        message = len(kind).to_bytes(_LENGTH, "little") + kind + rows.to_pybytes()
        about = {**about, _KEY: base64.b64encode(message)}
    return to_parquet(table, about, lean=True)


def footer_rows(content: bytes) -> tuple[Mapping[bytes, bytes], pa.RecordBatch] | None:
    """Return the schema's metadata and the rows in the footer of a whole part; None without.

    Args:
        content: of the file; it agrees with its digest.

    """
    at = content.rfind(_BEFORE)
    if at < 0:
        return None
    try:
        start, length = _varint(content, at + len(_BEFORE))
        message = base64.b64decode(content[start : start + length])
        rows = _LENGTH + int.from_bytes(message[:_LENGTH], "little")
        metadata, schema = _schema(message[_LENGTH:rows])
        return metadata, pa.ipc.read_record_batch(pa.py_buffer(message).slice(rows), schema)
    except (pa.ArrowException, binascii.Error, OSError, IndexError):
        return None  # a column of that name, whose text is no message


@lru_cache(maxsize=64)
def _schema(message: bytes) -> tuple[Mapping[bytes, bytes], pa.Schema]:
    schema = pa.ipc.read_schema(pa.py_buffer(message))
    return schema.metadata or {}, schema.remove_metadata()


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return where a number of Thrift's compact protocol ends, and the number."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at, value
        shift += 7


def nullable(schema: pa.Schema) -> pa.Schema:
    """Return a schema in which every column may be empty, as a part may lack it."""
    return pa.schema([field.with_nullable(True) for field in schema])
