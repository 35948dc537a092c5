"""Parts of the ledger: written whole, immutable, readable by anyone with Parquet.

`RESULTS/ledger/<table>/<key>.parquet` is one part, on this machine or at a URI; the tables are
those of `reports.ledger.schema`. A part is written whole (`reports.storage`): a reader sees all of
it or nothing, and many writers on one shared file system or object store need no lock. A row of
`trials` seals a trial: write it last, after `scores`, `panels` and `history`. A part holds its own
digest, and every reader compares it.
"""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from reports.ledger.digest import is_whole, to_parquet
from reports.ledger.footer_rows import footer_rows, nullable, with_footer_rows
from reports.ledger.gathered import concatenated
from reports.ledger.schema import CHOICES, READABLE, SCHEMA_VERSION, SCHEMAS, VERSION_KEY
from reports.ledger.snapshot import DERIVED, forget_checksums, read_with_snapshot
from reports.storage import Folder, Location, below, open_folder
from wsss_core.errors import InputError, as_input_error, one_line

if TYPE_CHECKING:
    import pandas as pd

SNAPSHOTS = ("trials", "history", "refined", "search", "segmented")
"""Tables of small parts; a snapshot of each is kept (`reports.ledger.snapshot`)."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")
_NAME = b"wsss_part"  # in the file's metadata: table and key; parts of older releases lack it
_FEW = 8
"""Up to this many parts are requested by name; more, by a listing of all."""


logger = logging.getLogger(__name__)


class LedgerError(InputError):
    """A part of the ledger cannot be written or read; the message names it."""


class CorruptPartError(LedgerError):
    """A part differs from its digest or cannot be understood; the message names it.

    Attributes:
        name: the part's file name.

    """

    name = ""


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


def part_content(table: str, key: str, rows: pa.Table) -> bytes:
    """Return the content of a part's file.

    Args:
        table: a key of `SCHEMAS`.
        key: the part's name.
        rows: see `ledger_table`.

    """
    about = {_NAME: f"{table}/{part_name(key)}".encode()}
    return with_footer_rows(rows, about) if table in SNAPSHOTS else to_parquet(rows, about)


def ledger_table(table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table of the ledger's schema.

    Args:
        table: a key of `SCHEMAS`.
        key: the name of the part that they are for, for messages.
        rows: see `write_part`.

    Raises:
        LedgerError: a column is unknown, or a value is empty or of a wrong type.

    """
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
    content = part_content(table, key, ledger_table(table, key, rows))
    with as_input_error(f"{part}: cannot be written", OSError, error=LedgerError):
        folder.write(part_name(key), content)
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
        CorruptPartError: a part differs from its digest or cannot be read; the message names it.
        LedgerError: a part has another schema version, or may not be read.

    """
    return read_arrow(results, table, keys=keys, columns=columns).to_pandas()


def read_arrow(
    results: Location,
    table: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
    skip_corrupt: bool = False,
    coded: bool = False,
) -> pa.Table:
    """Read parts of a table as `read_table` does, but without pandas, which loads slowly.

    Args:
        results: the results folder, a path or a URI.
        table: a key of `SCHEMAS`.
        keys: read these parts only. None: all.
        columns: read these columns only. None: all.
        skip_corrupt: log a warning about a corrupt part and go on without its rows.
        coded: columns of text may be dictionaries, which hold each text once.

    """
    left_out: set[str] = set()
    while True:
        try:
            return _read_table(results, table, keys, columns, left_out, coded=coded)
        except CorruptPartError as error:
            forget_checksums(open_folder(results).joined(DERIVED), table)
            if not skip_corrupt:
                raise
            logger.warning("%s; it is left out here", error)
            left_out.add(error.name)


def _read_table(
    results: Location,
    table: str,
    keys: Iterable[str] | None,
    columns: Sequence[str] | None,
    left_out: Collection[str],
    *,
    coded: bool,
) -> pa.Table:
    folder = table_folder(results, table)
    schema = SCHEMAS[table]
    wanted = list(columns) if columns is not None else None
    empty = schema if wanted is None else pa.schema([schema.field(name) for name in wanted])
    asked = None if keys is None else [part_name(key) for key in sorted(set(keys))]
    read = partial(_read_parts, folder)
    with as_input_error(
        f"{folder.where}: its parts do not fit together", pa.ArrowException, error=LedgerError
    ):
        if asked is not None and len(asked) <= _FEW:
            few = [name for name in asked if name not in left_out]
            found = list(read([name for name in few if folder.has(name)], wanted))
        else:
            there = folder.listing()
            there = {name: entry for name, entry in there.items() if name not in left_out}
            names = [n for n in asked or there if n in there and n.endswith(part_name(""))]
            if table in SNAPSHOTS:
                derived = open_folder(results).joined(DERIVED)
                found = read_with_snapshot(
                    derived, table, SCHEMA_VERSION, there, names, wanted, read, coded=coded
                )
            else:
                found = list(read(names, wanted))
        # `empty_table` would load pandas.
        if coded and found:
            empty = _coded_as(empty, found[0].schema)
        return concatenated([pa.Table.from_batches([], nullable(empty)), *found])


def _coded_as(schema: pa.Schema, found: pa.Schema) -> pa.Schema:
    """Return a schema with the dictionaries of another."""
    coded = {field.name: field.type for field in found if pa.types.is_dictionary(field.type)}
    return pa.schema(
        [field.with_type(coded.get(field.name, field.type)) for field in schema], schema.metadata
    )


def _read_parts(
    folder: Folder, names: Sequence[str], columns: list[str] | None
) -> Iterator[pa.Table]:
    contents = folder.read_many(names)
    for name in names:
        part = f"{folder.where}/{name}"
        with as_input_error(f"{part}: cannot be read", OSError, error=LedgerError):
            content = next(contents)
        yield _read_part(part, content, columns)


def check_part(part: str, content: bytes) -> None:
    """Compare a part with the digest and the name that it holds.

    A part without a digest has to be readable.

    Args:
        part: its path or URI, which ends with the table and the file name.
        content: of its file.

    Raises:
        CorruptPartError: it is corrupt.
        LedgerError: it has another schema version.

    """
    _read_part(part, content, [] if is_whole(content) else None)


def _read_part(part: str, content: bytes, columns: list[str] | None) -> pa.Table:
    whole = is_whole(content)
    if whole is False:
        _raise_corrupt(part, "it differs from the digest that it holds")
    if whole and (rows := _quick_rows(part, content)) is not None:
        names = rows.schema.names
        there = names if columns is None else [name for name in columns if name in names]
        return pa.Table.from_batches([rows if columns is None else rows.select(there)])
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            named = (file.metadata.metadata or {}).get(_NAME)
            metadata = file.schema_arrow.metadata or {}
            version = int(metadata.get(VERSION_KEY, b"0"))
            if version not in READABLE:
                known = " and ".join(map(str, READABLE))
                raise LedgerError(f"{part}: schema version {version}; this release reads {known}")
            names = file.schema_arrow.names
            there = names if columns is None else [name for name in columns if name in names]
            table = file.read(columns=there, use_threads=False)
    except LedgerError:
        raise
    except Exception as error:
        _raise_corrupt(part, f"it is no Parquet file: {one_line(error, 300)}", error)
    if whole is None and version == SCHEMA_VERSION:
        _raise_corrupt(part, "its digest is gone")
    if named is not None and not part.encode().endswith(b"/" + named):
        _raise_corrupt(part, f"it is a copy of {named.decode(errors='replace')}")
    return pa.Table.from_arrays(table.columns, schema=nullable(table.schema))


def _quick_rows(part: str, content: bytes) -> pa.RecordBatch | None:
    """Return the rows in the footer of a whole part, if it has its own name and is readable."""
    own = "/".join(part.rsplit("/", 2)[1:]).encode()
    if len(own) > 127 or _NAME + b"\x18" + bytes([len(own)]) + own not in content:
        return None
    if (found := footer_rows(content)) is None:
        return None
    metadata, rows = found
    return rows if int(metadata.get(VERSION_KEY, b"0")) in READABLE else None


def _raise_corrupt(part: str, why: str, error: Exception | None = None) -> NoReturn:
    remedy = "`wsss run` again brings it back from the store"
    if part.rsplit("/", 2)[-2:-1] == ["cancelled"]:  # no store knows what a person gave up
        remedy = "`wsss cancel` marks the row again"
    corrupt = CorruptPartError(f"{part}: cannot be read ({why}); {remedy}")
    corrupt.name = part.rpartition("/")[2]
    raise corrupt from error


def finished_trials(results: Location) -> dict[str, str]:
    """Return the status (ok, failed, collapsed) of every trial that has ended, by trial key."""
    frame = read_table(results, "trials", columns=["trial_key", "status"])
    return dict(zip(frame["trial_key"], frame["status"], strict=True))
