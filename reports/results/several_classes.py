"""Figures of several classes that share one background threshold, and of their mean."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from reports.names import ANY_CLASS, FIGURES, MEAN_OF_CLASSES, ORACLES
from reports.results.score_rows import Rules, ScoredNetwork
from wsss_core.evaluate import (
    SCORE_LEVELS,
    MultiClassStack,
    NoThresholdError,
    ThresholdRule,
    choose_threshold,
)


def several_classes(
    network: ScoredNetwork, rules: Rules
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the rows of each class and of their mean, and the curves of the objective."""
    of_split = {
        split: MultiClassStack({k: v for k, v in found.items() if k != ANY_CLASS}, found[ANY_CLASS])
        for split, found in network.stacks.items()
        if found
    }
    rows: list[dict[str, Any]] = []
    for rule in rules.names:
        shared_level = _shared_level(rule, of_split, network.pooled[ANY_CLASS], rules)
        if shared_level is None:
            continue
        levels, peeks_at = shared_level
        for split in ("test", "tune") if rule in ("fixed", "tuned") else ("test",):
            stack = of_split.get(split)
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
                    "images": len(one),
                    "images_with_class": int(one.holds_class.sum()),
                }
                for name, one in cut.classes.items()
            ]
            # NaN if one class lacks a figure: a mean over the others would mislead.
            means = {figure: float(np.mean([row[figure] for row in each])) for figure in FIGURES}
            means["dataset_miou"] = float(cut.dataset_miou()[level])
            rows += each
            rows.append(
                {
                    **shared,
                    "class_name": MEAN_OF_CLASSES,
                    **means,
                    "images": math.nan,
                    "images_with_class": math.nan,
                }
            )
    test = of_split["test"]
    of_class = {
        "per_image_iou": test.per_image_iou,
        "dataset_iou": test.dataset_iou,
        "dataset_miou": test.iou_with_background,
    }[rules.objective]
    of_classes = {name: of_class(name) for name in test.classes}
    return rows, {**of_classes, MEAN_OF_CLASSES: test.objective(rules.objective)}


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
    # Over the images of the dataset IoU: those that hold any class.
    pooled = cut.pooled(name)
    return {
        "per_image_iou": float(cut.per_image_iou(name)[level]),
        "dataset_iou": float(cut.dataset_iou(name)[level]),
        "dataset_miou": float(cut.iou_with_background(name)[level]),
        "precision": float(pooled.precision()[level]),
        "recall": float(pooled.recall()[level]),
        "clear_false_positive_share": (
            math.nan if oracle else float(cut.classes[name].clear_false_positive_share()[level])
        ),
    }
