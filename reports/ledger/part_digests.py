"""The digests that parts hold, read from the ends of their files."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from reports.ledger.digest import TAIL, digest_in
from reports.ledger.parts import LedgerError, table_folder
from reports.ledger.snapshot import DERIVED, read_with_snapshot
from reports.storage import Entry, Location, open_folder
from wsss_core.errors import as_input_error

_SCHEMA = pa.schema([("name", pa.string()), ("digest", pa.string())])
_VERSION = 1


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

    derived = open_folder(results).joined(DERIVED)
    found = read_with_snapshot(derived, f"{table}-digests", _VERSION, listing, names, None, read)
    whole = pa.concat_tables([pa.Table.from_batches([], _SCHEMA), *found])
    pairs = zip(whole["name"].to_pylist(), whole["digest"].to_pylist(), strict=True)
    return {name: digest for name, digest in pairs if digest}
