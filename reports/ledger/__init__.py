"""The ledger: everything a study measured, as immutable Parquet parts that anyone can read."""

from reports.ledger.parts import (
    SCHEMA_VERSION,
    SCHEMAS,
    LedgerError,
    finished_trials,
    read_arrow,
    read_table,
    write_part,
)

__all__ = [
    "SCHEMAS",
    "SCHEMA_VERSION",
    "LedgerError",
    "finished_trials",
    "read_arrow",
    "read_table",
    "write_part",
]
