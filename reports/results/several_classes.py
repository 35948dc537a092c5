"""Figures of several classes that share one background threshold, and of their mean.

Beside them stand those of a threshold for each class, by every rule. A pixel then takes its highest
class where the score reaches the threshold of that class. A rule chooses as it does for one class,
by what the class says where it wins: its own curve, or the scores of the pixels it wins. The
figures of a class follow from its own histograms. Those of the background do not, because the
ledger does not say which class wins the background's pixels; an objective that counts the
background therefore has no such figures. `wsss_core.evaluate.WinnerHistogram` has them of maps.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reports.names import ANY_CLASS, FIGURES, MEAN_OF_CLASSES, MEASURES, ORACLES
from reports.results.other_gatings import competing, oracle_stacks
from reports.results.score_rows import Rules, ScoredNetwork, image_counts
from wsss_core.evaluate import (
    SCORE_LEVELS,
    MultiClassStack,
    NoThresholdError,
    Objective,
    ThresholdRule,
    choose_threshold,
)

OWN_FIGURES = ("own_level", "own_objective")
"""The columns of an outcome for a class's own threshold: its level, and the objective there."""


def several_classes(
    network: ScoredNetwork, rules: Rules
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the rows of each class and of their mean, and the curves of the objective."""
    of_split = {split: competing(found) for split, found in network.stacks.items() if found}
    gated = of_split["test"]
    ungated = competing(network.ungated) if network.ungated else None
    rows: list[dict[str, Any]] = []
    for rule in rules.names:
        seen = of_split
        if rule in ORACLES:
            seen = {"test": oracle_stacks(rule, gated, ungated, rules.objective)}
        shared_level = _shared_level(rule, seen, network.pooled[ANY_CLASS], rules)
        if shared_level is None:
            continue
        levels, peeks_at = shared_level
        for split in ("test", "tune") if rule in ("fixed", "tuned") else ("test",):
            stack = seen.get(split)
            if stack is None:
                continue
            cut, level = stack, levels if isinstance(levels, int) else SCORE_LEVELS - 1
            if not isinstance(levels, int):
                cut = stack.cut_at(levels)
            shared = {
                "split": split,
                "rule": rule,
                "peeks_at": peeks_at,
                "level": float(levels) if isinstance(levels, int) else math.nan,
                "threshold": levels / 255 if isinstance(levels, int) else math.nan,
            }
            own = _own_figures(network, rule, seen, split, rules)
            each: list[dict[str, Any]] = [
                {
                    **shared,
                    **own[name],
                    "class_name": name,
                    **_at_level(cut, name, level, oracle=not isinstance(levels, int)),
                    **network.labels[split][name],
                    **image_counts(network, rule, split, name, one, level),
                }
                for name, one in cut.classes.items()
            ]
            # NaN if one class lacks a figure: a mean over the others would mislead.
            means = {figure: float(np.mean([row[figure] for row in each])) for figure in FIGURES}
            means["dataset_miou"] = float(cut.dataset_miou()[level])
            if isinstance(levels, int):
                means["dataset_miou_all_images"] = float(cut.dataset_miou(all_images=True)[level])
            rows += each
            rows.append(
                {
                    **shared,
                    "class_name": MEAN_OF_CLASSES,
                    **means,
                    **own[MEAN_OF_CLASSES],
                    # Of any class: the images that hold one, the masks that mark none.
                    **image_counts(network, rule, split, ANY_CLASS, cut.any_class, level),
                }
            )
    of_classes = {name: gated.measure(Objective(rules.objective), name) for name in gated.classes}
    return rows, {**of_classes, MEAN_OF_CLASSES: gated.objective(rules.objective)}


def _shared_level(
    rule: str, of_split: Mapping[str, MultiClassStack], scores: np.ndarray, rules: Rules
) -> tuple[int | np.ndarray, str] | None:
    """Return a rule's level for all classes, or a level per image, and what the rule peeks at.

    Rules without masks, and the study's own rules, see the highest score of any class, because the
    level cuts that score. None if a rule has nothing to choose by.
    """
    if rule == "tuned" or rule in ORACLES:
        seen = of_split.get("tune" if rule == "tuned" else "test")
        if seen is None:
            return None
        levels = seen.image_levels() if rule == "image_oracle" else seen.best_level(rules.objective)
        return None if levels is None else (levels, ThresholdRule(rule).peeks_at)
    tune = of_split["tune"].any_class if "tune" in of_split else None
    try:
        choice = choose_threshold(rule, tune=tune, scores=scores, fixed=rules.fixed)
    except NoThresholdError:
        return None
    assert choice.level is not None
    # Level 0 means that no class competes; it is no threshold.
    return max(1, choice.level), choice.peeks_at


def _at_level(cut: MultiClassStack, name: str, level: int, *, oracle: bool) -> dict[str, float]:
    figures = {measure: cut.measure(Objective(measure), name) for measure in MEASURES}
    # Of the positive images of the dataset IoU: those that hold any class.
    pooled = cut.pooled(name)
    figures |= {
        "precision": pooled.precision(),
        "recall": pooled.recall(),
        "precision_all_images": cut.pooled(name, all_images=True).precision(),
        "clear_false_positive_share": cut.classes[name].clear_false_positive_share(),
    }
    # The per-image oracle chooses no level for an image without a class.
    unknown = [key for key in figures if key.endswith("_all_images")] if oracle else []
    unknown += ["clear_false_positive_share"] if oracle else []
    return {k: math.nan if k in unknown else float(v[level]) for k, v in figures.items()}


def _own_figures(
    network: ScoredNetwork,
    rule: str,
    of_split: Mapping[str, MultiClassStack],
    split: str,
    rules: Rules,
) -> dict[str, dict[str, float]]:
    """Return the columns `OWN_FIGURES` by class, and of the mean over classes.

    Args:
        network: the scores of the network.
        rule: the threshold rule.
        of_split: the stacks that the rule sees and is evaluated on, by split.
        split: the split that the figures are of.
        rules: how the study chooses thresholds.

    Returns:
        NaN where a rule has nothing to choose a class's threshold by; the mean lacks what a class
        lacks. The per-image oracle has a level for each image, so `own_level` is NaN.

    """
    objective, stack = Objective(rules.objective), of_split[split]
    levels = _own_levels(network, rule, of_split, rules)
    found: dict[str, dict[str, float]] = {}
    for name, one in stack.classes.items():
        level, reached = levels[name], math.nan
        if level is not None:
            reached = float(stack.measure(objective, name)[level])
        elif rule == ThresholdRule.IMAGE_ORACLE and not objective.over_all_images:
            cut = replace(stack, classes={name: one.cut_at(stack.own_image_levels(name))})
            reached = float(cut.measure(objective, name)[SCORE_LEVELS - 1])
        found[name] = {
            "own_level": math.nan if level is None else float(level),
            "own_objective": math.nan if objective.figure == "dataset_miou" else reached,
        }
    mean = float(np.mean([one["own_objective"] for one in found.values()]))
    return {**found, MEAN_OF_CLASSES: {"own_level": math.nan, "own_objective": mean}}


def _own_levels(
    network: ScoredNetwork, rule: str, of_split: Mapping[str, MultiClassStack], rules: Rules
) -> dict[str, int | None]:
    """Return the level that a rule chooses for each class; None where it chooses none."""
    tune = of_split.get("tune")
    names = of_split["test"].classes
    if Objective(rules.objective).figure == "dataset_miou" or rule == ThresholdRule.IMAGE_ORACLE:
        return dict.fromkeys(names)
    if rule in ORACLES or rule == ThresholdRule.TUNED:
        seen = tune if rule == ThresholdRule.TUNED else of_split["test"]
        return dict.fromkeys(names) if seen is None else seen.own_levels(rules.objective)
    found: dict[str, int | None] = {}
    for name in names:
        scores = network.pooled[name].copy()
        scores[0] = 0  # where other classes win; no threshold cuts there
        try:
            choice = choose_threshold(
                rule,
                tune=None if tune is None else tune.classes[name],
                scores=scores,
                fixed=rules.fixed,
            )
        except NoThresholdError:
            found[name] = None
            continue
        assert choice.level is not None
        found[name] = max(1, choice.level)
    return found
