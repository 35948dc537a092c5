"""The ledger: everything that a study measured, as immutable Parquet parts."""

from reports.ledger.cancelled import CancelledRow, cancel_row, cancelled_rows, take_row_back
from reports.ledger.content_digests import part_checksums, part_digests
from reports.ledger.digest import digest_in
from reports.ledger.parts import (
    CorruptPartError,
    LedgerError,
    finished_trials,
    ledger_table,
    part_content,
    part_name,
    read_arrow,
    read_table,
    table_folder,
    write_part,
)
from reports.ledger.quarantine import (
    AT_ONCE,
    QUARANTINED,
    corrupt_parts,
    every_part,
    quarantine_corrupt_parts,
    quarantine_part,
)
from reports.ledger.schema import SCHEMA_VERSION, SCHEMAS
from reports.ledger.snapshot import DERIVED, forget_checksums

__all__ = [
    "AT_ONCE",
    "DERIVED",
    "QUARANTINED",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "CancelledRow",
    "CorruptPartError",
    "LedgerError",
    "cancel_row",
    "cancelled_rows",
    "corrupt_parts",
    "digest_in",
    "every_part",
    "finished_trials",
    "forget_checksums",
    "ledger_table",
    "part_checksums",
    "part_content",
    "part_digests",
    "part_name",
    "quarantine_corrupt_parts",
    "quarantine_part",
    "read_arrow",
    "read_table",
    "table_folder",
    "take_row_back",
    "write_part",
]
