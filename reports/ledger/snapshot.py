"""Many small parts of a table as one file: quick to read again, and never trusted over the parts.

Opening a Parquet file costs about a millisecond however little it holds, so a table of thousands of
parts costs seconds each time. A snapshot, `RESULTS/derived/<table>.parquet`, holds the rows of many
parts with each part's name, size and time of change. Rows of unchanged parts come from the
snapshot; other parts are read themselves. If many were read, a new snapshot is written, also if an
interruption ends the reading. A snapshot may be deleted at any time; one that differs from its
digest counts as deleted.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reports.ledger.digest import is_whole, to_parquet
from reports.ledger.gathered import GatheredRows, concatenated, decoded, gathered
from reports.storage import Entry, Folder, StorageError

DERIVED = "derived"
"""The subfolder of a results folder for files that can be made again."""

WORTH = 64
"""A table of so many parts gets a snapshot; one that lacks so many parts is replaced."""

_GROUP = 8192  # rows that are read at once

_PARTS = b"parts"
_VERSION = b"schema_version"

ReadParts = Callable[[Sequence[str], list[str] | None], Iterable[pa.Table]]
"""Names of parts and columns (None: all) -> a table of each part, in that order."""


def checksums_of(table: str) -> str:
    """Return the name of the snapshot that holds the checksums of a table's parts."""
    return f"{table}-checksums"


def forget_checksums(derived: Folder, table: str) -> None:
    """Have the checksums of a table's parts computed again, if this process may write there.

    Args:
        derived: the folder of the snapshots.
        table: a table of which a part is corrupt.

    """
    with contextlib.suppress(OSError, StorageError):
        derived.delete(f"{checksums_of(table)}.parquet")


def read_with_snapshot(
    folder: Folder,
    table: str,
    version: object,
    listing: Mapping[str, Entry],
    names: Sequence[str],
    columns: list[str] | None,
    read_parts: ReadParts,
    *,
    coded: bool = False,
) -> list[pa.Table]:
    """Read parts of a table, as many as possible from its snapshot.

    Args:
        folder: the folder of the snapshots; it need not exist.
        table: the table's name.
        version: of the schema, or of the code that makes the rows; a snapshot of another version is
            ignored.
        listing: all parts of the table as they are now.
        names: the names of the requested parts, ascending.
        columns: read these columns only, if a part has them; None: all.
        read_parts: reads the parts themselves, or computes rows of them.
        coded: leave columns of text as dictionaries where many parts were read: each text is in
            memory once.

    Returns:
        Tables whose rows, one table after the other, are those of the parts in their order.

    """
    if len(names) < WORTH:
        return list(read_parts(names, columns))
    kept, rows = _kept(folder, table, version, listing, names, columns)
    new = [name for name in names if name not in rows]
    if len(new) < WORTH:
        parts = dict(zip(new, read_parts(new, columns), strict=True))
        fresh, counts = gathered(parts.values()), {n: one.num_rows for n, one in parts.items()}
    else:
        gathering, counts = GatheredRows(), {}
        try:
            for name, part in zip(new, read_parts(new, None), strict=True):
                gathering.add(part)
                counts[name] = part.num_rows
        except BaseException:
            if len(counts) >= WORTH:  # what an interruption has left
                with contextlib.suppress(pa.ArrowException):
                    _renew(folder, table, version, listing, (kept, rows), gathering.table(), counts)
            raise
        fresh = gathering.table()
        del gathering
        _renew(folder, table, version, listing, (kept, rows), fresh, counts)
    if rows and fresh is not None and not kept.schema.equals(fresh.schema):
        kept, fresh = decoded(kept), decoded(fresh)
    if fresh is None:
        found = _in_order(names, kept, rows, {})
    elif not rows:
        found = [fresh]
    else:
        starts = np.cumsum([0, *counts.values()]).tolist()
        each = {name: fresh.slice(starts[n], counts[name]) for n, name in enumerate(counts)}
        found = _in_order(names, kept, rows, each)
    found = found if columns is None else [_only(one, columns) for one in found]
    return found if coded else [decoded(one) for one in found]


def _renew(
    folder: Folder,
    table: str,
    version: object,
    listing: Mapping[str, Entry],
    older: tuple[pa.Table, Mapping[str, tuple[int, int]]],
    fresh: pa.Table | None,
    counts: Mapping[str, int],
) -> None:
    """Write a snapshot of what is unchanged of an older one and of parts that were read now."""
    kept, rows = older
    there = [name for name in rows if name not in counts]
    parts = [(name, listing[name], rows[name][1] - rows[name][0]) for name in there]
    parts += [(name, listing[name], count) for name, count in counts.items()]
    content = [*_in_order(there, kept, rows, {}), *([] if fresh is None else [fresh])]
    if any(not one.schema.equals(content[0].schema) for one in content):
        content = [decoded(one) for one in content]
    _write(folder, table, version, content, parts)


def _in_order(
    names: Iterable[str],
    kept: pa.Table,
    rows: Mapping[str, tuple[int, int]],
    fresh: Mapping[str, pa.Table],
) -> list[pa.Table]:
    """Return the rows of parts by name: runs of the snapshot between parts read singly."""
    found: list[pa.Table] = []
    run: tuple[int, int] | None = None
    for name in [*names, None]:
        span = rows.get(name) if name is not None and name not in fresh else None
        if run is not None and (span is None or span[0] != run[1]):
            found.append(kept.slice(run[0], run[1] - run[0]))
            run = None
        if span is not None:
            run = (run[0] if run else span[0], span[1])
        elif name is not None:
            found.append(fresh[name])
    return found


def _only(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    return table.select([name for name in columns if name in table.column_names])


def _kept(
    folder: Folder,
    table: str,
    version: object,
    listing: Mapping[str, Entry],
    names: Sequence[str],
    columns: list[str] | None,
) -> tuple[pa.Table, dict[str, tuple[int, int]]]:
    """Read a snapshot; a missing or corrupt one, or one of another version, holds nothing.

    Returns:
        All of its rows, those of changed parts included; first row and end of each unchanged part.
        All columns if a new snapshot will be written from it.

    """
    nothing: tuple[pa.Table, dict[str, tuple[int, int]]] = (pa.table({}), {})
    try:
        content = folder.read(f"{table}.parquet")
        if not is_whole(content):
            return nothing
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            about = file.metadata.metadata
            if about[_VERSION] != _written(version):
                return nothing
            rows = {}
            start = 0
            for name, size, changed, count in json.loads(about[_PARTS]):
                now = listing.get(name)
                if now is not None and (now.size, now.changed) == (size, changed):
                    rows[name] = (start, start + count)
                start += count
            if start != file.metadata.num_rows:
                return nothing
            there = file.schema_arrow.names
            if columns is not None and len(set(names) - rows.keys()) < WORTH:
                there = [name for name in columns if name in there]
            groups = range(file.num_row_groups)
            each = (file.read_row_group(n, columns=there, use_threads=False) for n in groups)
            whole = gathered(each)
            return (pa.table({}), {}) if whole is None else (whole, rows)
    except (OSError, pa.ArrowException, StorageError, ValueError, KeyError, TypeError):
        return nothing


def _write(
    folder: Folder,
    table: str,
    version: object,
    content: Sequence[pa.Table],
    parts: Sequence[tuple[str, Entry, int]],
) -> None:
    about = [(name, entry.size, entry.changed, count) for name, entry, count in parts]
    # A reader without the right to write goes on without a snapshot.
    with contextlib.suppress(OSError, StorageError, pa.ArrowException):
        entries = {_PARTS: json.dumps(about).encode(), _VERSION: _written(version)}
        whole = concatenated(content)
        folder.write(f"{table}.parquet", to_parquet(whole, entries, rows=_GROUP))


def _written(version: object) -> bytes:
    """Return a version as snapshots hold it; those of older releases have no dictionaries."""
    return f"{version}, coded".encode()
