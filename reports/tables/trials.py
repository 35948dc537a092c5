"""The trials table: each planned trial's status, figures, cost and error."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from reports.names import MEASURE_NAMES
from reports.results.study_record import StudyRecord, TrialRecord
from reports.tables.cells import ABSENT, Column, Table, points
from reports.tables.long import CellColumn, ColumnRows, TrialValues


def trials_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration and seed (and fold), in the plan's order."""
    columns = (
        Column("configuration", "configuration"),
        Column("seed", "seed", numeric=True),
        *([Column("fold", "fold", numeric=True)] if record.folds else []),
        Column("status", "status"),
        Column("iou", "IoU", "%", None, True, MEASURE_NAMES[record.objective] + "."),
        Column("balanced_accuracy", "balanced accuracy", "%", None, True),
        Column("epochs", "epochs", numeric=True),
        Column("seconds_training", "training", "s", None, True),
        Column("seconds_scoring", "scoring", "s", None, True),
        Column("images_per_second", "images/s", "", None, True, "While training."),
        Column("peak_memory_bytes", "peak memory", "MiB", None, True),
        Column("parameters", "parameters", "M", None, True),
        Column("device", "device"),
        Column("trial_key", "trial key"),
        Column("error", "error"),
    )
    trials = [trial for one in record.configurations for trial in record.of(one.name)]
    rows = _rows(record, trials) if trials else ()
    caption = (
        f"All {len(rows)} planned trials. IoU is {MEASURE_NAMES[record.objective]} on the test "
        f"split at the {record.rule} threshold. The table shows the IoU of a collapsed trial, but "
        "no mean includes it."
    )
    return Table("trials", "All trials", columns, rows, caption)


def _rows(record: StudyRecord, trials: Sequence[TrialRecord]) -> ColumnRows:
    value_of = TrialValues(trials)

    def column(values: Iterable[Any]) -> CellColumn:
        found = list(values)
        return CellColumn([ABSENT if v is None else str(v) for v in found], {"": found})

    def share(name: str) -> CellColumn:
        values = value_of(name, record.main_class, record.rule).tolist()
        return CellColumn([points(value) for value in values], {"": values})

    def measured(name: str, decimals: int, scale: float = 1.0) -> CellColumn:
        values = [trial.row.get(name) for trial in trials]
        texts = [
            ABSENT
            if value is None or math.isnan(value)
            else f"{value / scale:,.{decimals}f}".replace(",", "\u202f")
            for value in values
        ]
        return CellColumn(texts, {"": values})

    states = ["" if trial.status == "ok" else trial.status for trial in trials]
    keys = [trial.key for trial in trials]
    return ColumnRows(
        [
            CellColumn([trial.configuration for trial in trials]),
            column(trial.seed for trial in trials),
            *([column(trial.fold for trial in trials)] if record.folds else []),
            CellColumn([trial.status for trial in trials], states=states),
            share(record.objective),
            share("balanced_accuracy"),
            measured("epochs", 0),
            measured("seconds_training", 1),
            measured("seconds_scoring", 1),
            measured("images_per_second", 0),
            measured("peak_memory_bytes", 0, 2**20),
            measured("parameters", 2, 1e6),
            column(trial.row.get("device") for trial in trials),
            CellColumn([key[:12] for key in keys], {"": keys}),
            column(trial.row.get("error") for trial in trials),
        ]
    )
