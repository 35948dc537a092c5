"""Parts of the ledger: written whole, immutable, readable by anyone with Parquet.

`RESULTS/ledger/<table>/<key>.parquet` is one part, on this machine or at a URI; the tables are
those of `reports.ledger.schema`. A part is written whole (`reports.storage`): a reader sees all of
it or nothing, and many writers on one shared file system or object store need no lock. A row of
`trials` seals a trial: write it last, after `scores`, `panels` and `history`.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.ledger.schema import CHOICES, SCHEMA_VERSION, SCHEMAS, VERSION_KEY
from reports.ledger.snapshot import DERIVED, read_with_snapshot
from reports.storage import Folder, Location, StorageError, below, open_folder
from wsss_core.errors import InputError, as_input_error, one_line

if TYPE_CHECKING:
    import pandas as pd

SNAPSHOTS = ("trials", "history", "refined", "search")
"""Tables of small parts; a snapshot of each is kept (`reports.ledger.snapshot`)."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")
_FEW = 8
"""Up to this many parts are requested by name; more, by a listing of all."""


class LedgerError(InputError):
    """A part of the ledger cannot be written or read; the message names it."""


def table_folder(results: Location, table: str) -> Folder:
    """Return the folder of a table's parts; it need not exist.

    Raises:
        LedgerError: there is no such table.

    """
    if table not in SCHEMAS:
        raise LedgerError(f"ledger table {table!r}: expected one of {', '.join(SCHEMAS)}")
    return open_folder(results).joined("ledger", table)


def part_name(key: str) -> str:
    """Return the file name of a part."""
    return f"{key}.parquet"


def _checked(table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = SCHEMAS[table]
    where = f"ledger {table}/{key}"
    for row in rows:
        unknown = sorted(set(row) - set(schema.names))
        if unknown:
            raise LedgerError(f"{where}: unknown column {unknown[0]!r}")
        for name in schema.names:
            allowed = CHOICES.get((table, name))
            if not schema.field(name).nullable and row.get(name) is None:
                raise LedgerError(f"{where}: column {name!r} must not be empty")
            if allowed and row[name] not in allowed:
                raise LedgerError(
                    f"{where}: {name} {row[name]!r}, expected one of {', '.join(allowed)}"
                )
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"{where}: {one_line(error, 300)}") from error


def write_part(
    results: Location, table: str, key: str, rows: Sequence[Mapping[str, Any]]
) -> Location:
    """Write one part whole; replace an older part of the same key.

    Args:
        results: the results folder, a path or a URI; `ledger/<table>` is made below it.
        table: a key of `SCHEMAS`.
        key: the part's name: the trial's key, or the study's name for `plan`. Letters, digits
            and `. _ = + -`.
        rows: one mapping per row. A nullable column may be left out; a histogram may be a list or
            a NumPy array of 256 counts.

    Returns:
        The path or URI of the part.

    Raises:
        LedgerError: the table or a column is unknown, a required value is empty, a value has the
            wrong type, a histogram has not 256 levels, the key is unusable, or the folder cannot be
            written.
        StorageError: the storage stays out of reach or is full.

    """
    folder = table_folder(results, table)
    if not _SAFE_KEY.fullmatch(key):
        raise LedgerError(
            f"ledger key {key!r}: expected letters, digits and . _ = + - (not starting with a dot)"
        )
    part = below(results, "ledger", table, part_name(key))
    sink = io.BytesIO()
    pq.write_table(_checked(table, key, rows), sink, compression="zstd")
    with as_input_error(f"{part}: cannot be written", OSError, error=LedgerError):
        folder.write(part_name(key), sink.getvalue())
    return part


def read_table(
    results: Location,
    table: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Read all parts of a table as one frame, ordered by the parts' names.

    Args:
        results: the results folder, a path or a URI.
        table: a key of `SCHEMAS`.
        keys: read these parts only; a key without a part contributes no row. None: all parts.
        columns: read these columns only. None: all.

    Returns:
        A frame with at least the requested columns, empty if there is no part. A column that a part
        lacks is empty in its rows. Histograms are NumPy `uint32 [256]`.

    Raises:
        LedgerError: a part cannot be read, or has another schema version; the message names it.

    """
    return read_arrow(results, table, keys=keys, columns=columns).to_pandas()


def read_arrow(
    results: Location,
    table: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read parts of a table as `read_table` does, but without pandas, which loads slowly."""
    folder = table_folder(results, table)
    schema = SCHEMAS[table]
    wanted = list(columns) if columns is not None else None
    empty = schema if wanted is None else pa.schema([schema.field(name) for name in wanted])
    asked = None if keys is None else [part_name(key) for key in sorted(set(keys))]
    read = partial(_read_parts, folder)
    if asked is not None and len(asked) <= _FEW:
        found = list(read([name for name in asked if folder.has(name)], wanted))
    else:
        there = folder.listing()
        names = [n for n in asked or there if n in there and n.endswith(part_name(""))]
        if table in SNAPSHOTS:
            derived = open_folder(results).joined(DERIVED)
            found = read_with_snapshot(derived, table, SCHEMA_VERSION, there, names, wanted, read)
        else:
            found = list(read(names, wanted))
    with as_input_error(
        f"{folder.where}: its parts do not fit together", pa.ArrowException, error=LedgerError
    ):
        return pa.concat_tables(
            # `empty_table` would load pandas.
            [pa.Table.from_batches([], _nullable(empty)), *found],
            promote_options="permissive",
        )


def _read_parts(
    folder: Folder, names: Sequence[str], columns: list[str] | None
) -> Iterator[pa.Table]:
    contents = folder.read_many(names)
    for name in names:
        try:
            content = next(contents)
        except StorageError:
            raise
        except OSError as error:
            raise _unreadable(f"{folder.where}/{name}", error) from error
        yield _read_part(f"{folder.where}/{name}", content, columns)


def _read_part(part: str, content: bytes, columns: list[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            metadata = file.schema_arrow.metadata or {}
            version = int(metadata.get(VERSION_KEY, b"0"))
            if version != SCHEMA_VERSION:
                raise LedgerError(
                    f"{part}: schema version {version}; this release reads {SCHEMA_VERSION}"
                )
            names = file.schema_arrow.names
            there = names if columns is None else [name for name in columns if name in names]
            table = file.read(columns=there, use_threads=False)
    except LedgerError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(part, error) from error
    return pa.Table.from_arrays(table.columns, schema=_nullable(table.schema))


def _unreadable(part: str, error: BaseException) -> LedgerError:
    return LedgerError(
        f"{part}: cannot be read as Parquet ({one_line(error, 300)}); `wsss run` again brings the "
        "part of a finished trial back from the store"
    )


def _nullable(schema: pa.Schema) -> pa.Schema:
    """Allow every column to be empty: a part may lack it."""
    return pa.schema([field.with_nullable(True) for field in schema])


def finished_trials(results: Location) -> dict[str, str]:
    """Return the status (ok, failed, collapsed) of every trial that has ended, by trial key."""
    frame = read_table(results, "trials", columns=["trial_key", "status"])
    return dict(zip(frame["trial_key"], frame["status"], strict=True))
