"""The thresholds table: each rule's threshold per seed, and what the rule loses to the oracle."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

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
from reports.tables.long import CellColumn, ColumnRows, TrialValues
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
    trials = [trial for one in record.configurations for trial in record.of(one.name)]
    rows = _rows(record, trials, record.classes or ("",), tuple(rules))
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
    return Table("thresholds", "Thresholds per seed", tuple(columns), rows, caption, _notes(record))


def _rows(
    record: StudyRecord, trials: list[TrialRecord], classes: Sequence[str], rules: tuple[str, ...]
) -> ColumnRows | tuple[tuple[Cell, ...], ...]:
    """Return a row for each trial and class."""
    if not trials:
        return ()
    times = len(classes)

    def of_trials(values: Iterable[Any]) -> list[Any]:
        return [value for value in values for _ in range(times)]

    seeds = of_trials(trial.seed for trial in trials)
    columns = [
        CellColumn(of_trials(trial.configuration for trial in trials)),
        CellColumn([str(seed) for seed in seeds], {"": seeds}),
    ]
    if record.folds:
        folds = of_trials(trial.fold for trial in trials)
        columns.append(CellColumn([str(fold) for fold in folds], {"": folds}))
    if len(record.classes) > 1:
        columns.append(CellColumn([name for _ in trials for name in classes]))
    of_class = [_rule_columns(record, trials, TrialValues(trials), name, rules) for name in classes]
    return ColumnRows([*columns, *map(_woven, zip(*of_class, strict=True))])


def _woven(columns: Sequence[CellColumn]) -> CellColumn:
    """Return the cells of columns of equal length in turns."""
    if len(columns) == 1:
        return columns[0]

    def woven(each: Iterable[Sequence[Any]]) -> list[Any]:
        return [value for values in zip(*each, strict=True) for value in values]

    suffixes = dict.fromkeys(suffix for column in columns for suffix in column.data)
    nothing = [math.nan] * len(columns[0].texts)
    return CellColumn(
        woven(column.texts for column in columns),
        {s: woven(column.data.get(s, nothing) for column in columns) for s in suffixes},
        woven(column.states for column in columns),
    )


def _rule_columns(
    record: StudyRecord,
    trials: Sequence[TrialRecord],
    value_of: TrialValues,
    name: str,
    rules: tuple[str, ...],
) -> list[CellColumn]:
    """Return the columns of one class: level and IoU under each rule."""
    states = ["" if trial.status == "ok" else trial.status for trial in trials]
    scored = [trial.figures is not None for trial in trials]

    def numbers(values: np.ndarray, write: Callable[[float], str]) -> CellColumn:
        known = values.tolist()
        texts = [
            (ABSENT if value != value else write(value)) if has else state
            for value, has, state in zip(known, scored, states, strict=True)
        ]
        stands_out = [
            state if value == value or not has else ""
            for value, has, state in zip(known, scored, states, strict=True)
        ]
        return CellColumn(texts, {"": known}, stands_out)

    columns: list[CellColumn] = []
    for rule in rules:
        if rule != "image_oracle":
            level = numbers(value_of("level", name, rule), "{:.0f}".format)
            if rule == "tuned":
                # Of maps that are all empty every level is as good as any other.
                chosen_by = value_of(record.objective, record.main_class, rule, "tune")
                level = _replaced(level, chosen_by == 0, ABSENT)
            columns.append(level)
        reached = numbers(value_of(record.objective, name, rule), points)
        never = value_of.never_predicted(name, rule)
        if rule not in ORACLES and not never.all():
            reached = _with_price(reached, value_of("price", name, rule))
        columns.append(_replaced(reached, never, NEVER_PREDICTED, STATE))
    return columns


def _replaced(
    column: CellColumn, where: np.ndarray, text: str, state: str | None = None
) -> CellColumn:
    """Return a column with another text, and maybe another state, in some cells."""
    if not where.any():
        return column
    texts, states = list(column.texts), list(column.states)
    data = {suffix: list(values) for suffix, values in column.data.items()}
    for place in np.flatnonzero(where).tolist():
        texts[place] = text
        if state is not None:
            states[place] = state
            if "price" in data:
                data["price"][place] = math.nan
    return CellColumn(texts, data, states)


def _with_price(reached: CellColumn, prices: np.ndarray) -> CellColumn:
    known = prices.tolist()
    texts = [
        text if price != price else f"{text} ({points(-price)})"
        for text, price in zip(reached.texts, known, strict=True)
    ]
    return replace(reached, texts=texts, data={**reached.data, "price": known})


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
    trials = list(record.trials.values())
    value_of = TrialValues(trials)
    gated = np.zeros(len(trials), bool)
    for name in record.classes:
        gated |= value_of("images_with_class_gated", name, "dataset_oracle") > 0
    found = [n for n in np.flatnonzero(gated).tolist() if trials[n].gating == "predicted"]
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
