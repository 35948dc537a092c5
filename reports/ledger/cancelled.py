"""Rows that a user has cancelled: marks in the results folder.

A mark is a part of the table `cancelled`. Every driver and every worker of a study looks for marks
while it runs, and everyone who reads its results sees them. A mark is written whole and deleted
whole, on this machine or at a URI. It names a row and touches none of its results.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from reports.ledger.parts import part_name, read_arrow, table_folder, write_part
from reports.storage import Location


@dataclass(frozen=True)
class CancelledRow:
    """A row that a user has cancelled.

    Attributes:
        study: its study.
        configuration: its name.
        at: when it was cancelled.
        reason: why, in the user's words; None if they gave none.

    """

    study: str
    configuration: str
    at: datetime
    reason: str | None = None

    def __str__(self) -> str:
        """Say when and why, to follow the row's name.

        >>> str(CancelledRow("s", "L1", datetime(2026, 11, 28, 17, 5, tzinfo=UTC), "diverges"))
        'cancelled by you on 2026-11-28 17:05 UTC (diverges)'
        """
        why = f" ({self.reason})" if self.reason else ""
        return f"cancelled by you on {self.at:%Y-%m-%d %H:%M} UTC{why}"

    @property
    def line(self) -> str:
        """Name the row, and how it is taken back."""
        return f"{self.configuration}: {self}; `wsss cancel --undo` takes it back"

    def renamed(self, text: Callable[[str], str]) -> "CancelledRow":
        """Return it with the reason as a function rewrites it, for results without names."""
        return self if self.reason is None else replace(self, reason=text(self.reason))

    def record(self) -> dict[str, str | None]:
        """Return it as plain values, for scripts."""
        return {
            "configuration": self.configuration,
            "at": self.at.isoformat(),
            "reason": self.reason,
        }


def cancel_row(
    results: Location, study: str, configuration: str, reason: str | None = None
) -> CancelledRow:
    """Mark a row as cancelled; a row that is marked already gets the new date and reason.

    Raises:
        LedgerError: the mark cannot be written.
        StorageError: the storage stays out of reach or is full.

    """
    row = CancelledRow(study, configuration, datetime.now(UTC), reason)
    about = {"study": study, "configuration": configuration, "reason": reason}
    mark = _key(study, configuration)
    write_part(results, "cancelled", mark, [{**about, "cancelled_at": row.at}])
    return row


def take_row_back(results: Location, study: str, configuration: str) -> None:
    """Delete the mark of a row; it need not be there.

    Raises:
        StorageError: the storage stays out of reach.

    """
    table_folder(results, "cancelled").delete(part_name(_key(study, configuration)))


def cancelled_rows(results: Location, study: str) -> dict[str, CancelledRow]:
    """Return the cancelled rows of a study by name; a corrupt mark is warned of and counts as none.

    Raises:
        StorageError: the storage stays out of reach.

    """
    found = read_arrow(results, "cancelled", skip_corrupt=True)
    moments = found["cancelled_at"].cast(pa.int64()).to_pylist()
    return {
        row["configuration"]: CancelledRow(
            study, row["configuration"], datetime.fromtimestamp(moment / 1e6, UTC), row["reason"]
        )
        for row, moment in zip(found.drop(["cancelled_at"]).to_pylist(), moments, strict=True)
        if row["study"] == study
    }


def _key(study: str, configuration: str) -> str:
    """Return the name of a mark's part: names of rows hold what no file's name may hold."""
    return hashlib.blake2b(f"{study}\0{configuration}".encode(), digest_size=10).hexdigest()
