"""The thresholds table: each rule's threshold per seed, and what the rule loses to the oracle."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reports.names import (
    MEAN_OF_CLASSES,
    MEASURE_NAMES,
    NEVER_PREDICTED,
    ORACLES,
    RULE_NAMES,
    RULES,
    images_of,
)
from reports.results.study_record import StudyRecord, TrialRecord
from reports.statistics import summarise
from reports.tables.cells import ABSENT, STATE, Cell, Column, Table, never_predicted_notes, points
from wsss_core.evaluate import ThresholdRule

_SEES = {
    "fixed": "no mask",
    "otsu": "scores and labels",
    "gaussian_mixture": "scores and labels",
    "tuned": "tune masks",
    "dataset_oracle": "test masks",
    "image_oracle": "each mask",
}


def peeks_at(record: StudyRecord) -> dict[str, str]:
    """Return what each rule of a study sees of the masks: built-in rules, then the study's own."""
    seen = {rule: ThresholdRule(rule).peeks_at for rule in RULES}
    for _, trial in record.every_trial():
        if trial.figures is not None:
            seen |= trial.figures.peeks_at()
    return seen


def threshold_table(record: StudyRecord) -> Table:
    """Build the table: a row per configuration, seed and class; level and IoU under each rule.

    The price, in brackets and in CSV, is the gain of a single threshold chosen on the test masks.
    """
    several = len(record.classes) > 1
    rules = peeks_at(record)
    columns = [
        Column("configuration", "configuration"),
        Column("seed", "seed", numeric=True),
        *([Column("fold", "fold", numeric=True)] if record.folds else []),
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
            *([Cell(str(trial.fold), data={"": trial.fold})] if record.folds else []),
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
        f"IoU is {MEASURE_NAMES[record.objective]} on the test split."
        f"{images_of(record.objective)} A pixel is foreground if its score is at least level / "
        f"255. The fixed rule (at {at}) sees nothing. Otsu and the "
        "Gaussian mixture see the pooled scores of the test images that carry the label. The tuned "
        "rule sees the tune split's masks. The dataset oracle sees the test masks and chooses one "
        "threshold per trial; the per-image oracle chooses one per test image. Both oracles are "
        "upper bounds, not results: where gating has removed maps they take the ungated ones if "
        "these reach more. In brackets: points below the dataset oracle, the price of not knowing "
        "the masks."
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
            level = _number_cell(trial, trial.figure("level", **where), "{:.0f}".format)
            # Of maps that are all empty every level is as good as any other.
            chosen_by = trial.figure(
                record.objective, rule=rule, class_name=record.main_class, split="tune"
            )
            if rule == "tuned" and chosen_by == 0:
                level = replace(level, text=ABSENT)
            cells.append(level)
        reached = _number_cell(trial, trial.figure(record.objective, **where), points)
        if trial.never_predicted(name, rule):
            cells.append(replace(reached, text=NEVER_PREDICTED, state=STATE))
            continue
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
    """Average the prices of the main class over all healthy trials."""
    prices: dict[str, list[float]] = {
        rule: [
            price
            for one in record.configurations
            for price in record.by_seed(one.name, "price", rule=rule).values()
        ]
        for rule in peeks_at(record)
        if rule not in ORACLES
    }
    notes = (*never_predicted_notes(record), *_gated_oracles(record))
    if not prices["fixed"]:
        return notes
    where = f" ({record.main_class})" if record.main_class == MEAN_OF_CLASSES else ""
    healthy = len(prices["fixed"])
    means = [
        f"{points(summarise(found).mean)} for {RULE_NAMES.get(rule, rule)}"
        + (f" (of {len(found)})" if len(found) != healthy else "")
        for rule, found in prices.items()
        if found
    ]
    text = (
        f"Points below the dataset oracle, averaged over {healthy} healthy trials{where}: "
        f"{', '.join(means)}"
    )
    above = _image_oracle_gain(record)
    if above is not None:
        text += f"; the per-image oracle lies {points(above)} above it"
    return (text + ".", *notes)


def _gated_oracles(record: StudyRecord) -> list[str]:
    """Say how many trials of an earlier release have oracles of gated maps alone."""
    found = [
        trial
        for trial in record.trials.values()
        if trial.gating == "predicted"
        and any(
            trial.figure("images_with_class_gated", rule="dataset_oracle", class_name=name) > 0
            for name in record.classes
        )
    ]
    if not found:
        return []
    return [
        f"The ledger holds no ungated maps of {len(found)} trials that an earlier release scored, "
        "so their oracles see gated maps. Running the study again scores them anew."
    ]


def _image_oracle_gain(record: StudyRecord) -> float | None:
    gains = []
    for one in record.configurations:
        dataset, image = (record.by_seed(one.name, record.objective, rule=rule) for rule in ORACLES)
        gains += [image[seed] - dataset[seed] for seed in image.keys() & dataset.keys()]
    return summarise(gains).mean if gains else None
