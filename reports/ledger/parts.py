"""The ledger: everything a study measured, as immutable Parquet parts anyone can read.

``RESULTS/ledger/<table>/<key>.parquet`` is one part, on this machine or at a URI. A part is written
whole (`reports.storage`), so a reader sees all of it or nothing, and many writers on one shared
file system or object store need no lock. A row of ``trials`` is the seal of a trial: write it last,
after ``scores``, ``panels`` and ``history``.

| table | one part per | one row per |
|---|---|---|
| plan | study | configuration x seed (rewritten whole at each run) |
| trials | trial | trial: how it ended, and on what |
| scores | trial | network x split x image x class: the score histogram |
| panels | trial | network x image x class: pictures to look at |
| history | trial | epoch |
| search | search trial | seed it was scored under |
| refinements | study | refinement chain x trial (rewritten whole at each run) |
| refined | trial x chain | trial x chain: how it ended |

A trial's scores and panels under a refinement chain are parts of their own, named by the key that
`refinements` gives.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.ledger.snapshot import DERIVED, read_with_snapshot
from reports.storage.errors import StorageError
from reports.storage.folder import Entry, Folder
from reports.storage.locations import Location, below
from reports.storage.opening import open_folder
from wsss_core.errors import InputError, one_line

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 5
LEVELS = 256
STATUSES = ("ok", "failed", "collapsed")
NETWORKS = ("student", "teacher", "fused")
SEARCH_STATES = ("complete", "pruned", "failed", "collapsed")
PARADIGMS = ("single", "teacher-student", "co-training")

_VERSION_KEY = b"schema_version"
_SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")


class LedgerError(InputError):
    """A part of the ledger cannot be written or read; the message names it."""


def _schema(**columns: pa.DataType | tuple[pa.DataType, str]) -> pa.Schema:
    """Make a schema; a column given as ``(type, "null")`` may be empty, others must be filled."""
    fields = [
        pa.field(name, kind[0], nullable=True)
        if isinstance(kind, tuple)
        else pa.field(name, kind, nullable=False)
        for name, kind in columns.items()
    ]
    return pa.schema(fields, metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()})


_TEXT = pa.string()
_REAL = pa.float64()
_HISTOGRAM = pa.list_(pa.uint32(), LEVELS)

SCHEMAS: dict[str, pa.Schema] = {
    "plan": _schema(
        study=_TEXT,
        study_title=_TEXT,
        position=pa.int32(),
        configuration=_TEXT,
        seed=pa.int64(),
        trial_key=_TEXT,
        paradigm=_TEXT,
        metric=(_TEXT, "null"),
        level=(_TEXT, "null"),
        representation=(_TEXT, "null"),
        weight=(_REAL, "null"),
        student=_TEXT,
        teacher=(_TEXT, "null"),
        baseline=(_TEXT, "null"),
        reference=(_TEXT, "null"),
        fixed_threshold=_REAL,
        objective=_TEXT,
        own_rules=(_TEXT, "null"),
        settings=_TEXT,
        family=_TEXT,
        dial=(_TEXT, "null"),
        dial_value=(_REAL, "null"),
        published=(_REAL, "null"),
        published_from=(_TEXT, "null"),
        artifacts=(_TEXT, "null"),
        search_trials=(pa.int32(), "null"),
    ),
    "trials": _schema(
        trial_key=_TEXT,
        configuration=_TEXT,
        seed=pa.int64(),
        status=_TEXT,
        error=(_TEXT, "null"),
        traceback=(_TEXT, "null"),
        settings=_TEXT,
        train_fingerprint=(_TEXT, "null"),
        evaluation_fingerprint=(_TEXT, "null"),
        code_revision=(_TEXT, "null"),
        package_version=_TEXT,
        packages=_TEXT,
        device=(_TEXT, "null"),
        host=(_TEXT, "null"),
        started_at=pa.timestamp("us", tz="UTC"),
        seconds_training=(_REAL, "null"),
        seconds_scoring=(_REAL, "null"),
        images_per_second=(_REAL, "null"),
        peak_memory_bytes=(pa.int64(), "null"),
        epochs=(pa.int32(), "null"),
        parameters=(pa.int64(), "null"),
        micro_batch=(pa.int32(), "null"),
        cpus=(pa.int32(), "null"),
        gpus=(_REAL, "null"),
    ),
    "scores": _schema(
        trial_key=_TEXT,
        network=_TEXT,
        split=_TEXT,
        image=_TEXT,
        group=_TEXT,
        class_name=_TEXT,
        labelled=pa.bool_(),
        logit=pa.float32(),
        foreground=_HISTOGRAM,
        background=_HISTOGRAM,
        context=(_HISTOGRAM, "null"),
        ring=(_HISTOGRAM, "null"),
        peak=(_TEXT, "null"),
        logit_without_object=(pa.float32(), "null"),
        logit_without_context=(pa.float32(), "null"),
        refinement=(_TEXT, "null"),
    ),
    "panels": _schema(
        trial_key=_TEXT,
        network=_TEXT,
        split=_TEXT,
        image=_TEXT,
        class_name=_TEXT,
        image_png=pa.binary(),
        mask_png=pa.binary(),
        cam_png=pa.binary(),
        refinement=(_TEXT, "null"),
    ),
    "history": _schema(
        trial_key=_TEXT,
        epoch=pa.int32(),
        loss=_REAL,
        classification_loss=_REAL,
        transfer_loss=(_REAL, "null"),
        seconds=_REAL,
    ),
    "search": _schema(
        study=_TEXT,
        number=pa.int32(),
        configuration=_TEXT,
        parameters=_TEXT,
        seed=pa.int64(),
        objective=(_REAL, "null"),
        state=_TEXT,
    ),
    "refinements": _schema(
        study=_TEXT,
        trial_key=_TEXT,
        refinement=_TEXT,
        position=pa.int32(),
        scores_key=(_TEXT, "null"),
        lacks=(_TEXT, "null"),
        chain=(_TEXT, "null"),
        published_worse=(_REAL, "null"),
        published_best=(_REAL, "null"),
        published_from=(_TEXT, "null"),
    ),
    "refined": _schema(
        scores_key=_TEXT,
        trial_key=_TEXT,
        refinement=_TEXT,
        status=_TEXT,
        error=(_TEXT, "null"),
        traceback=(_TEXT, "null"),
        seconds=(_REAL, "null"),
        code_revision=(_TEXT, "null"),
        host=(_TEXT, "null"),
        ended_at=pa.timestamp("us", tz="UTC"),
    ),
}

_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("trials", "status"): STATUSES,
    ("refined", "status"): STATUSES,
    ("plan", "paradigm"): PARADIGMS,
    ("scores", "network"): NETWORKS,
    ("search", "state"): SEARCH_STATES,
    ("scores", "split"): ("tune", "test"),
    ("panels", "network"): NETWORKS,
    ("panels", "split"): ("tune", "test"),
}


def table_folder(results: Location, table: str) -> Folder:
    """The folder of a table's parts; it need not be there.

    Raises:
        LedgerError: no such table.

    """
    if table not in SCHEMAS:
        raise LedgerError(f"ledger table {table!r}: expected one of {', '.join(SCHEMAS)}")
    return open_folder(results).joined("ledger", table)


def part_name(key: str) -> str:
    """The file name of a part."""
    return f"{key}.parquet"


def _checked(table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = SCHEMAS[table]
    where = f"ledger {table}/{key}"
    for row in rows:
        unknown = sorted(set(row) - set(schema.names))
        if unknown:
            raise LedgerError(f"{where}: unknown column {unknown[0]!r}")
        for name in schema.names:
            allowed = _CHOICES.get((table, name))
            if not schema.field(name).nullable and row.get(name) is None:
                raise LedgerError(f"{where}: column {name!r} must not be empty")
            if allowed and row[name] not in allowed:
                raise LedgerError(
                    f"{where}: {name} {row[name]!r}, expected one of {', '.join(allowed)}"
                )
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"{where}: {_one_line(error)}") from error


def write_part(
    results: Location, table: str, key: str, rows: Sequence[Mapping[str, Any]]
) -> Location:
    """Write one part whole; an older part of the same key is replaced.

    Args:
        results: The results folder, a path or a URI; ``ledger/<table>`` is made below it.
        table: One of ``SCHEMAS``.
        key: The part's name: the trial's key, or the study's name for ``plan``. Letters, digits
            and ``. _ = + -``.
        rows: One mapping per row. A nullable column may be left out; the 256 counts may be NumPy.

    Returns:
        The path or URI of the part.

    Raises:
        LedgerError: Unknown table or column, an empty required value, a value of the wrong type, a
            histogram without 256 levels, an unusable key, or a folder that cannot be written.
        StorageError: A storage that stays away or is full.

    """
    folder = table_folder(results, table)
    if not _SAFE_KEY.fullmatch(key):
        raise LedgerError(
            f"ledger key {key!r}: expected letters, digits and . _ = + - (not starting with a dot)"
        )
    part = below(results, "ledger", table, part_name(key))
    sink = io.BytesIO()
    pq.write_table(_checked(table, key, rows), sink, compression="zstd")
    try:
        folder.write(part_name(key), sink.getvalue())
    except OSError as error:
        raise LedgerError(f"{part}: cannot be written ({_one_line(error)})") from error
    return part


def read_table(
    results: Location,
    table: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read all parts of a table as one frame, ordered by the part's name.

    A column that a part lacks (an older release wrote it) is empty in its rows. A part that only a
    newer release can have written is refused.

    Args:
        results: The results folder, a path or a URI.
        table: One of ``SCHEMAS``.
        keys: Only these parts; a key without a part contributes no row. None: all parts.
        columns: Only these columns. None: all.

    Returns:
        A frame with at least the asked columns; without rows where there is no part. Histograms are
        NumPy ``uint32 [256]``.

    Raises:
        LedgerError: A part that cannot be read (named), or one of a newer schema version.

    """
    return read_arrow(results, table, keys=keys, columns=columns).to_pandas()


SNAPSHOTS = ("trials", "history", "refined", "search")
"""Tables of small parts, of which a snapshot is kept (`reports.ledger.snapshot`)."""


def read_arrow(
    results: Location,
    table: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read parts of a table as ``read_table`` does, without pandas, which takes long to load."""
    folder = table_folder(results, table)
    schema = SCHEMAS[table]
    wanted = list(columns) if columns is not None else None
    empty = schema if wanted is None else pa.schema([schema.field(name) for name in wanted])
    asked = None if keys is None else sorted(set(keys))
    if table in SNAPSHOTS and (asked is None or len(asked) > _FEW):
        there = folder.listing()
        names = _named(there, asked)
        found = read_with_snapshot(
            open_folder(results).joined(DERIVED),
            table,
            SCHEMA_VERSION,
            there,
            names,
            wanted,
            lambda names, columns: _read_parts(folder, names, columns),
        )
    else:
        found = list(_read_parts(folder, parts_of(folder, asked), wanted))
    try:
        whole = pa.concat_tables(
            # Not `empty_table`, which loads pandas.
            [pa.Table.from_batches([], _nullable(empty)), *found],
            promote_options="permissive",
        )
    except pa.ArrowException as error:
        raise LedgerError(
            f"{folder.where}: its parts do not fit together ({_one_line(error)})"
        ) from error
    return whole


_FEW = 8
"""So many parts are asked for one by one; more, by a listing of all."""


def parts_of(folder: Folder, keys: Iterable[str] | None) -> list[str]:
    """The names of a table's parts, in order; those of some keys only, where they are there."""
    asked = None if keys is None else sorted(set(keys))
    if asked is None or len(asked) > _FEW:
        return _named(folder.listing(), asked)
    return [name for name in map(part_name, asked) if folder.has(name)]


def _named(there: Mapping[str, Entry], asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        return [name for name in there if name.endswith(part_name(""))]
    return [name for name in map(part_name, asked) if name in there]


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
            version = int(metadata.get(_VERSION_KEY, b"0"))
            if version > SCHEMA_VERSION:
                raise LedgerError(
                    f"{part}: schema version {version}; this release reads up to {SCHEMA_VERSION}"
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
        f"{part}: cannot be read as Parquet ({_one_line(error)}); `wsss run` again brings the "
        "part of a finished trial back from the store"
    )


def _nullable(schema: pa.Schema) -> pa.Schema:
    """Allow every column to be empty, as another release's parts may leave it."""
    return pa.schema([field.with_nullable(True) for field in schema])


def finished_trials(results: Location) -> dict[str, str]:
    """Give the status (ok, failed, collapsed) of every trial that has ended, by trial key."""
    frame = read_table(results, "trials", columns=["trial_key", "status"])
    return dict(zip(frame["trial_key"], frame["status"], strict=True))


def _one_line(error: BaseException) -> str:
    return one_line(error, 300)
