"""The ledger: everything that a study measured, as immutable Parquet parts."""

from reports.ledger.parts import LedgerError, finished_trials, read_arrow, read_table, write_part
from reports.ledger.schema import SCHEMA_VERSION, SCHEMAS

__all__ = [
    "SCHEMAS",
    "SCHEMA_VERSION",
    "LedgerError",
    "finished_trials",
    "read_arrow",
    "read_table",
    "write_part",
]
