"""Figures of several classes that share one background threshold, and of their mean."""

import math
from collections.abc import Mapping
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
            each: list[dict[str, Any]] = [
                {
                    **shared,
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
