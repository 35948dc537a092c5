"""Tables with a row for each trial: kept by column, as a cell for each of them costs too much."""

from reports.tables.long.columns import CellColumn, ColumnRows, columns_of, rows_at
from reports.tables.long.figures import TrialValues
from reports.tables.long.mixed import mark_mixed

__all__ = ["CellColumn", "ColumnRows", "TrialValues", "columns_of", "mark_mixed", "rows_at"]
