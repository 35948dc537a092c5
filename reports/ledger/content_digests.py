"""Digests of parts, each computed or read once for each version of its file."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from reports.ledger.digest import TAIL, digest_in
from reports.ledger.parts import LedgerError, table_folder
from reports.ledger.snapshot import DERIVED, ReadParts, checksums_of, read_with_snapshot
from reports.storage import Entry, Location, open_folder
from wsss_core.errors import as_input_error

_SCHEMA = pa.schema([("name", pa.string()), ("digest", pa.string())])
_VERSION = 1
_AT_ONCE = 16  # parts read together; each is a request to a remote ledger
_WEEK = 7 * 24 * 3600


def part_digests(
    results: Location, table: str, names: Sequence[str], listing: Mapping[str, Entry]
) -> dict[str, str]:
    """Return the digest that each part holds; a part of an older release holds none.

    Nothing of a part is read but the end of its file, and that once for each version of the file
    (`reports.ledger.snapshot`). That the rest agrees is for its readers to check.

    Args:
        results: the results folder, a path or a URI.
        table: a key of `SCHEMAS`.
        names: of the parts, ascending.
        listing: all parts of the table as they are now.

    Raises:
        LedgerError: a part may not be read.

    """
    folder = table_folder(results, table)

    def read(names: Sequence[str], _columns: object) -> Iterator[pa.Table]:
        ends = folder.read_ends([(name, listing[name].size) for name in names], TAIL)
        for name in names:
            with as_input_error(
                f"{folder.where}/{name}: cannot be read", OSError, error=LedgerError
            ):
                digest = digest_in(next(ends)) or ""
            yield pa.table([[name], [digest]], schema=_SCHEMA)

    return _kept(results, f"{table}-digests", _VERSION, names, listing, read)


def part_checksums(
    results: Location, table: str, names: Sequence[str], listing: Mapping[str, Entry]
) -> dict[str, str]:
    """Return the BLAKE2b digest (128 bit) of the content of each part's file.

    What was computed of a version of a file is kept until the week ends.

    Args:
        results: the results folder, a path or a URI.
        table: a key of `SCHEMAS`.
        names: of the parts, ascending. One that cannot be read has no digest.
        listing: all parts of the table as they are now.

    """
    folder = table_folder(results, table)

    def computed(name: str) -> str:
        try:
            return hashlib.blake2b(folder.read(name), digest_size=16).hexdigest()
        except OSError:
            return ""  # gone meanwhile, or unreadable

    def read(names: Sequence[str], _columns: object) -> Iterator[pa.Table]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, digest in zip(names, pool.map(computed, names), strict=True):
                yield pa.table([[name], [digest]], schema=_SCHEMA)

    week = int(time.time() // _WEEK)
    return _kept(results, checksums_of(table), f"{_VERSION}.{week}", names, listing, read)


def _kept(
    results: Location,
    what: str,
    version: object,
    names: Sequence[str],
    listing: Mapping[str, Entry],
    read: ReadParts,
) -> dict[str, str]:
    derived = open_folder(results).joined(DERIVED)
    found = read_with_snapshot(derived, what, version, listing, names, None, read)
    whole = pa.concat_tables([pa.Table.from_batches([], _SCHEMA), *found])
    pairs = zip(whole["name"].to_pylist(), whole["digest"].to_pylist(), strict=True)
    return {name: digest for name, digest in pairs if digest}
