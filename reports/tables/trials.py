"""The trials table: each planned trial's status, figures, cost and error."""

import math
from typing import Any

from reports.names import MEASURE_NAMES
from reports.results.study_record import StudyRecord, TrialRecord
from reports.tables.cells import ABSENT, Cell, Column, Table, absent_cell, share_cell


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
    rows = tuple(
        _row(record, trial) for one in record.configurations for trial in record.of(one.name)
    )
    caption = (
        f"All {len(rows)} planned trials. IoU is {MEASURE_NAMES[record.objective]} on the test "
        f"split at the {record.rule} threshold. The table shows the IoU of a collapsed trial, but "
        "no mean includes it."
    )
    return Table("trials", "All trials", columns, rows, caption)


def _row(record: StudyRecord, trial: TrialRecord) -> tuple[Cell, ...]:
    def share(name: str) -> Cell:
        return share_cell(trial.figure(name, rule=record.rule, class_name=record.main_class))

    def measured(name: str, decimals: int, scale: float = 1.0) -> Cell:
        value: Any = trial.row.get(name)
        if value is None or math.isnan(value):
            return absent_cell()
        return Cell(f"{value / scale:,.{decimals}f}".replace(",", "\u202f"), data={"": value})

    def text(name: str) -> Cell:
        value = trial.row.get(name)
        return Cell(ABSENT if value is None else str(value), data={"": value})

    state = "" if trial.status == "ok" else trial.status
    return (
        Cell(trial.configuration),
        Cell(str(trial.seed), data={"": trial.seed}),
        *([Cell(str(trial.fold), data={"": trial.fold})] if record.folds else []),
        Cell(trial.status, state=state),
        share(record.objective),
        share("balanced_accuracy"),
        measured("epochs", 0),
        measured("seconds_training", 1),
        measured("seconds_scoring", 1),
        measured("images_per_second", 0),
        measured("peak_memory_bytes", 0, 2**20),
        measured("parameters", 2, 1e6),
        text("device"),
        Cell(trial.key[:12], data={"": trial.key}),
        text("error"),
    )
