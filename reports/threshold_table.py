"""Thresholds per seed, under rules that peek at more and more, and the price of not knowing."""

import math
from collections.abc import Callable
from typing import Any

from reports.cells import ABSENT, MEASURE_NAMES, points
from reports.outcomes import MEAN_OF_CLASSES, RULES
from reports.statistics import summarise
from reports.study_record import StudyRecord, Trial
from reports.tables import Cell, Column, Table
from wsss_core.evaluate import ThresholdRule

RULE_HEADERS = {
    "fixed": "fixed (sees no mask)",
    "tuned": "tuned (sees tune masks)",
    "dataset_oracle": "dataset oracle (sees test masks)",
    "image_oracle": "per-image oracle (sees each mask)",
}


def threshold_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration, seed and class; level and IoU under each rule.

    The price is the IoU under the dataset oracle less that at the tuned threshold: what a single
    threshold chosen on the test masks would have given on top.
    """
    several = len(record.classes) > 1
    columns = [
        Column("configuration", "configuration"),
        Column("seed", "seed", numeric=True),
        *([Column("class", "class")] if several else []),
    ]
    for rule in RULES:
        about = f"Peeks at {ThresholdRule(rule).peeks_at}."
        if rule != "image_oracle":
            columns.append(
                Column(f"{rule}_level", f"{RULE_HEADERS[rule]}: level", "of 255", None, True, about)
            )
        columns.append(Column(f"{rule}_iou", f"{RULE_HEADERS[rule]}: IoU", "%", None, True, about))
    columns.append(
        Column("price", "price", "points", None, True, "Dataset oracle less tuned threshold.")
    )
    rows = [
        (
            Cell(one.name),
            Cell(str(trial.seed), data={"": trial.seed}),
            *([Cell(name)] if several else []),
            *_rule_cells(record, trial, name),
        )
        for one in record.configurations
        for trial in record.of(one.name)
        for name in record.classes or ("",)
    ]
    fixed = sorted({one.fixed_threshold for one in record.configurations})
    at = " or ".join(f"{value:g}" for value in fixed)
    caption = (
        f"IoU is {MEASURE_NAMES[record.objective]} on the test split; foreground is a score of at "
        f"least level / 255. Fixed (at {at}) peeks at nothing; tuned, at the tune split's masks; "
        "the dataset oracle, at the test masks, one threshold per trial; the per-image oracle, at "
        "each test image's mask. Both oracles are upper bounds, not results. Price of not knowing: "
        "dataset oracle less tuned."
    )
    return Table(
        "thresholds", "Thresholds per seed", tuple(columns), tuple(rows), caption, _notes(record)
    )


def _number_cell(trial: Trial, value: float, write: Callable[[float], str]) -> Cell:
    state = "" if trial.status == "ok" else trial.status
    if trial.figures is None:
        return Cell(state, data={"": None}, state=state)
    if math.isnan(value):
        return Cell(ABSENT, data={"": None})
    return Cell(write(value), data={"": value}, state=state)


def _rule_cells(record: StudyRecord, trial: Trial, name: str) -> list[Cell]:
    cells: list[Cell] = []
    reached: dict[str, float] = {}
    for rule in RULES:
        where: dict[str, Any] = {"rule": rule, "class_name": name}
        reached[rule] = trial.figure(record.objective, **where)
        if rule != "image_oracle":
            cells.append(_number_cell(trial, trial.figure("level", **where), "{:.0f}".format))
        cells.append(_number_cell(trial, reached[rule], points))
    price = reached["dataset_oracle"] - reached["tuned"]
    return [*cells, _number_cell(trial, price, points)]


def _notes(record: StudyRecord) -> tuple[str, ...]:
    """Average the prices over all healthy trials of the main class."""
    gains: dict[str, list[float]] = {"fixed": [], "tuned": [], "image_oracle": []}
    for one in record.configurations:
        by_rule = {rule: record.by_seed(one.name, record.objective, rule=rule) for rule in RULES}
        for rule, found in gains.items():
            found += [
                by_rule["dataset_oracle"][seed] - value
                for seed, value in by_rule[rule].items()
                if seed in by_rule["dataset_oracle"]
            ]
    if not gains["fixed"]:
        return ()
    where = f" ({record.main_class})" if record.main_class == MEAN_OF_CLASSES else ""
    text = (
        f"Averaged over {len(gains['fixed'])} healthy trials{where}, the dataset oracle is "
        f"{points(summarise(gains['fixed']).mean)} points above the fixed threshold"
    )
    if gains["tuned"]:
        text += f" and {points(summarise(gains['tuned']).mean)} above the tuned one"
    if gains["image_oracle"]:
        below = -summarise(gains["image_oracle"]).mean
        text += f"; the per-image oracle lies another {points(below)} above it"
    return (text + ".",)
