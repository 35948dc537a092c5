"""Corrupt parts of the ledger: found by reading them, and moved out of the readers' way.

A part that was moved lies in `RESULTS/ledger/quarantined/`, where no reader looks.
"""

import logging
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from reports.ledger.parts import CorruptPartError, LedgerError, check_part, part_name, table_folder
from reports.ledger.schema import SCHEMAS
from reports.storage import Location, open_folder

QUARANTINED = "quarantined"
"""The folder in `ledger/` of corrupt parts."""

AT_ONCE = 16  # parts read together; each is a request to a remote ledger

logger = logging.getLogger(__name__)


def every_part(results: Location, tables: Iterable[str] = tuple(SCHEMAS)) -> list[tuple[str, str]]:
    """Return the table and the file name of every part of some tables."""
    return [
        (table, name)
        for table in tables
        for name in table_folder(results, table).listing()
        if name.endswith(part_name(""))
    ]


def corrupt_parts(
    results: Location, parts: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], CorruptPartError]:
    """Read parts and return those that are corrupt, with the error of reading them.

    Args:
        results: the results folder, a path or a URI.
        parts: the table and the file name of each. A part that is gone is passed over.

    Raises:
        LedgerError: a part has another schema version, or may not be read.

    """

    def checked(part: tuple[str, str]) -> CorruptPartError | None:
        folder, name = table_folder(results, part[0]), part[1]
        where = f"{folder.where}/{name}"
        try:
            check_part(where, folder.read(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{where}: cannot be read: {error.strerror}") from error
        except CorruptPartError as error:
            return error
        return None

    parts = list(parts)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = zip(parts, pool.map(checked, parts), strict=True)
        return {part: error for part, error in found if error is not None}


def quarantine_part(results: Location, table: str, name: str) -> None:
    """Move a part to `ledger/quarantined/`; one that is gone was moved by another process."""
    folder = table_folder(results, table)
    try:
        content = folder.read(name)
    except FileNotFoundError:
        return
    kept = f"{table}-{name.removesuffix(part_name(''))}-{part_name(uuid.uuid4().hex[:8])}"
    open_folder(results).joined("ledger", QUARANTINED).write(kept, content)
    folder.delete(name)


def quarantine_corrupt_parts(results: Location, parts: Iterable[tuple[str, str]]) -> None:
    """Move the corrupt ones among some parts to `ledger/quarantined/`, with a warning of each.

    Raises:
        LedgerError: a part has another schema version, or may not be read.

    """
    for (table, name), error in corrupt_parts(results, parts).items():
        quarantine_part(results, table, name)
        logger.warning("  %s; it was moved to ledger/%s", error, QUARANTINED)
