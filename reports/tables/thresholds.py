"""Thresholds per seed, under rules that peek at more and more, and the price of not knowing."""

import math
from collections.abc import Callable
from typing import Any

from reports.results.outcomes import MEAN_OF_CLASSES, ORACLES, RULES
from reports.results.study_record import StudyRecord, TrialRecord
from reports.statistics import summarise
from reports.tables.cells import ABSENT, MEASURE_NAMES, points
from reports.tables.model import Cell, Column, Table
from wsss_core.evaluate import ThresholdRule

RULE_NAMES = {
    "fixed": "fixed",
    "otsu": "Otsu",
    "gaussian_mixture": "Gaussian mixture",
    "tuned": "tuned",
    "dataset_oracle": "dataset oracle",
    "image_oracle": "per-image oracle",
}
_SEES = {
    "fixed": "no mask",
    "otsu": "scores and labels",
    "gaussian_mixture": "scores and labels",
    "tuned": "tune masks",
    "dataset_oracle": "test masks",
    "image_oracle": "each mask",
}


def peeks_at(record: StudyRecord) -> dict[str, str]:
    """What each rule of a study has seen of the masks: those of the package, then its own."""
    said = {rule: ThresholdRule(rule).peeks_at for rule in RULES}
    for trial in (*record.trials.values(), *record.refined.values()):
        if trial.figures is not None:
            rows = trial.figures.outcomes
            said |= dict(zip(rows["rule"], rows["peeks_at"], strict=True))
    return said


def threshold_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration, seed and class; level and IoU under each rule.

    The price, in brackets and in CSV, is what a single threshold chosen on the test masks would
    have given on top.
    """
    several = len(record.classes) > 1
    rules = peeks_at(record)
    columns = [
        Column("configuration", "configuration"),
        Column("seed", "seed", numeric=True),
        *([Column("class", "class")] if several else []),
    ]
    for rule, seen in rules.items():
        about = f"Peeks at {seen}."
        header = f"{RULE_NAMES.get(rule, rule)} (sees {_SEES.get(rule, seen)})"
        if rule != "image_oracle":
            columns.append(Column(f"{rule}_level", f"{header}: level", "of 255", None, True, about))
        columns.append(Column(f"{rule}_iou", f"{header}: IoU", "%", None, True, about))
    rows = [
        (
            Cell(one.name),
            Cell(str(trial.seed), data={"": trial.seed}),
            *([Cell(name)] if several else []),
            *_rule_cells(record, trial, name, tuple(rules)),
        )
        for one in record.configurations
        for trial in record.of(one.name)
        for name in record.classes or ("",)
    ]
    fixed = sorted({one.fixed_threshold for one in record.configurations})
    at = " or ".join(f"{value:g}" for value in fixed)
    caption = (
        f"IoU is {MEASURE_NAMES[record.objective]} on the test split; foreground is a score of at "
        f"least level / 255. Fixed (at {at}) peeks at nothing; Otsu and the Gaussian mixture, at "
        "the scores of the test images that carry the label, pooled; tuned, at the tune split's "
        "masks; the dataset oracle, at the test masks, one threshold per trial; the per-image "
        "oracle, at each test image's mask. Both oracles are upper bounds, not results. In "
        "brackets the price of not knowing the masks: points below the dataset oracle."
    )
    return Table(
        "thresholds", "Thresholds per seed", tuple(columns), tuple(rows), caption, _notes(record)
    )


def _number_cell(trial: TrialRecord, value: float, write: Callable[[float], str]) -> Cell:
    state = "" if trial.status == "ok" else trial.status
    if trial.figures is None:
        return Cell(state, data={"": None}, state=state)
    if math.isnan(value):
        return Cell(ABSENT, data={"": None})
    return Cell(write(value), data={"": value}, state=state)


def _rule_cells(
    record: StudyRecord, trial: TrialRecord, name: str, rules: tuple[str, ...]
) -> list[Cell]:
    cells: list[Cell] = []
    for rule in rules:
        where: dict[str, Any] = {"rule": rule, "class_name": name}
        if rule != "image_oracle":
            cells.append(_number_cell(trial, trial.figure("level", **where), "{:.0f}".format))
        reached = _number_cell(trial, trial.figure(record.objective, **where), points)
        if rule not in ORACLES:
            reached = _with_price(reached, trial.figure("price", **where))
        cells.append(reached)
    return cells


def _with_price(reached: Cell, price: float) -> Cell:
    known = not math.isnan(price)
    return Cell(
        f"{reached.text} ({points(-price)})" if known else reached.text,
        data={**reached.data, "price": price if known else None},
        state=reached.state,
    )


def _notes(record: StudyRecord) -> tuple[str, ...]:
    """Average the prices over all healthy trials of the main class."""
    prices: dict[str, list[float]] = {
        rule: [
            price
            for one in record.configurations
            for price in record.by_seed(one.name, "price", rule=rule).values()
        ]
        for rule in peeks_at(record)
        if rule not in ORACLES
    }
    if not prices["fixed"]:
        return ()
    where = f" ({record.main_class})" if record.main_class == MEAN_OF_CLASSES else ""
    healthy = len(prices["fixed"])
    said = [
        f"{points(summarise(found).mean)} for {RULE_NAMES.get(rule, rule)}"
        + (f" (of {len(found)})" if len(found) != healthy else "")
        for rule, found in prices.items()
        if found
    ]
    text = (
        f"Points below the dataset oracle, averaged over {healthy} healthy trials{where}: "
        f"{', '.join(said)}"
    )
    above = _image_oracle_gain(record)
    if above is not None:
        text += f"; the per-image oracle lies {points(above)} above it"
    return (text + ".",)


def _image_oracle_gain(record: StudyRecord) -> float | None:
    gains = []
    for one in record.configurations:
        dataset, image = (record.by_seed(one.name, record.objective, rule=rule) for rule in ORACLES)
        gains += [image[seed] - dataset[seed] for seed in image.keys() & dataset.keys()]
    return summarise(gains).mean if gains else None
