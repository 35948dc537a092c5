"""From one trial's score histograms to its figures: a row per network, class, split and rule.

IoU comes in the three definitions that the field mixes up: the mean over images of foreground IoU,
foreground IoU over all pixels, and mIoU of foreground and background over all pixels; all three
over the images that hold the class. What a network predicts on the others is a figure of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wsss_core.evaluate.curves import false_positive_share
from wsss_core.evaluate.histogram_stack import HistogramStack
from wsss_core.evaluate.multi_class import MultiClassStack
from wsss_core.evaluate.pixel_counts import LEVELS
from wsss_core.evaluate.score_histogram import ScoreHistogram
from wsss_core.evaluate.thresholds import (
    Objective,
    ThresholdRule,
    choose_threshold,
    evaluate,
    level_of,
)

RULES = tuple(str(rule) for rule in ThresholdRule)
PEEKED_SPLIT = {"tuned": "tune", "dataset_oracle": "test", "image_oracle": "test"}
MEASURES = tuple(str(objective) for objective in Objective)
FIGURES = (
    *MEASURES,
    "precision",
    "recall",
    "clear_false_positive_share",
    "accuracy",
    "balanced_accuracy",
)
MEAN_OF_CLASSES = "mean over classes"
ANY_CLASS = "any class"
"""Rows of the highest score of several classes against the mask of any of them."""
COLUMNS = (
    "network",
    "class_name",
    "split",
    "rule",
    "peeks_at",
    "level",
    "threshold",
    *FIGURES,
    "images",
    "images_with_class",
)


@dataclass(frozen=True)
class TrialFigures:
    """Everything that follows from the scores of one trial.

    Attributes:
        outcomes: One row per network x class x split x rule, shares in [0, 1]; columns ``COLUMNS``.
        curves: The objective on the test split over levels, float64 [256], by (network, class).
        image_iou: Foreground IoU of each test image over levels, float64 [N, 256], likewise.
        clear_share: Share of background pixels predicted foreground, float64 [N, 256], likewise.
        images: Names of the test images, in the order of ``image_iou``, likewise.

    """

    outcomes: pd.DataFrame
    curves: Mapping[tuple[str, str], np.ndarray]
    image_iou: Mapping[tuple[str, str], np.ndarray]
    clear_share: Mapping[tuple[str, str], np.ndarray]
    images: Mapping[tuple[str, str], tuple[str, ...]]


def classification(labelled: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Accuracy and balanced accuracy of image-level labels, predicted where the logit exceeds 0.

    Args:
        labelled: bool [N].
        logits: float [N].

    Returns:
        ``accuracy`` and ``balanced_accuracy`` in [0, 1]; the latter is NaN where one of the two
        labels does not occur.

    Example:
        >>> classification(np.array([True, True, False]), np.array([1.0, -1.0, -2.0]))
        {'accuracy': 0.6666666666666666, 'balanced_accuracy': 0.75}

    """
    right = (logits > 0) == labelled
    both = labelled.any() and not labelled.all()
    return {
        "accuracy": float(right.mean()) if len(right) else math.nan,
        "balanced_accuracy": (
            float((right[labelled].mean() + right[~labelled].mean()) / 2) if both else math.nan
        ),
    }


def _stack(rows: pd.DataFrame) -> HistogramStack | None:
    if rows.empty:
        return None
    return HistogramStack(
        np.stack(rows["foreground"].to_list()).astype(np.int64),
        np.stack(rows["background"].to_list()).astype(np.int64),
    )


def _split_rows(
    stacks: Mapping[str, HistogramStack | None],
    labels: Mapping[str, dict[str, float]],
    objective: str,
    fixed: float,
) -> list[dict[str, Any]]:
    found = []
    for rule in RULES:
        seen = stacks[PEEKED_SPLIT[rule]] if rule in PEEKED_SPLIT else None
        if rule in PEEKED_SPLIT and (seen is None or not seen.holds_class.any()):
            continue
        choice = choose_threshold(
            rule, tune=stacks["tune"], test=stacks["test"], objective=objective, fixed=fixed
        )
        # A level that peeks at the test masks says nothing about the tune split.
        for split in ("test", "tune") if rule in ("fixed", "tuned") else ("test",):
            stack = stacks[split]
            if stack is None:
                continue
            result = evaluate(choice, stack)
            found.append(
                {
                    "split": split,
                    "rule": rule,
                    "peeks_at": str(choice.peeks_at),
                    "level": math.nan if choice.level is None else float(choice.level),
                    "threshold": math.nan if choice.level is None else choice.level / 255,
                    **{name: float(getattr(result, name)) for name in FIGURES[:6]},
                    **labels[split],
                    "images": len(stack),
                    "images_with_class": int(stack.holds_class.sum()),
                }
            )
    return found


def trial_figures(scores: pd.DataFrame, *, objective: str, fixed: float) -> TrialFigures:
    """Evaluate one trial.

    Args:
        scores: Rows of the ledger's ``scores`` table, all of one trial.
        objective: What the tuned and the oracle rules maximise, one of ``MEASURES``.
        fixed: Threshold of the fixed rule, in [0, 1].

    Returns:
        The trial's figures. A rule that needs masks which do not hold the class has no row. Several
        classes share one background threshold (``wsss_core.evaluate.MultiClassStack``) and have
        rows of ``MEAN_OF_CLASSES`` besides.

    """
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], np.ndarray] = {}
    image_iou: dict[tuple[str, str], np.ndarray] = {}
    clear_share: dict[tuple[str, str], np.ndarray] = {}
    images: dict[tuple[str, str], tuple[str, ...]] = {}
    for network, of_network in scores.groupby("network", sort=True):
        stacks: dict[str, dict[str, HistogramStack]] = {"tune": {}, "test": {}}
        labels: dict[str, dict[str, dict[str, float]]] = {"tune": {}, "test": {}}
        for both, group in of_network.groupby(["class_name", "split"], sort=True):
            name, split = (str(part) for part in both)
            stack = _stack(group)
            if stack is None:
                continue
            stacks[split][name] = stack
            labels[split][name] = classification(
                group["labelled"].to_numpy(bool), group["logit"].to_numpy()
            )
            if split == "test" and name != ANY_CLASS:
                key = str(network), name
                image_iou[key] = np.asarray(stack.iou())
                clear_share[key] = false_positive_share(stack.background)
                images[key] = tuple(group["image"])
        if not stacks["test"]:
            continue
        if ANY_CLASS in stacks["test"]:
            here, of_classes = _several_classes(stacks, labels, objective, fixed)
        else:
            here, of_classes = _one_against_the_rest(stacks, labels, objective, fixed)
        rows += [{"network": str(network), **row} for row in here]
        curves |= {(str(network), name): curve for name, curve in of_classes.items()}
    return TrialFigures(
        pd.DataFrame(rows, columns=list(COLUMNS)), curves, image_iou, clear_share, images
    )


def _one_against_the_rest(
    stacks: Mapping[str, Mapping[str, HistogramStack]],
    labels: Mapping[str, Mapping[str, dict[str, float]]],
    objective: str,
    fixed: float,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Rows of the only class; of several without competition, as older ledgers hold them."""
    rows: list[dict[str, Any]] = []
    for name in stacks["test"]:
        one = {split: of_split.get(name) for split, of_split in stacks.items()}
        of_one = {split: of_split.get(name, {}) for split, of_split in labels.items()}
        rows += [{"class_name": name, **r} for r in _split_rows(one, of_one, objective, fixed)]
    of_classes = {k: np.asarray(getattr(one, objective)()) for k, one in stacks["test"].items()}
    if len(of_classes) > 1:
        frame = pd.DataFrame(rows).assign(network="")
        means = _mean_of_classes(frame).drop(columns="network")
        rows += [{str(k): v for k, v in row.items()} for row in means.to_dict("records")]
        of_classes[MEAN_OF_CLASSES] = np.mean(list(of_classes.values()), axis=0)
    return rows, of_classes


def _several_classes(
    stacks: Mapping[str, Mapping[str, HistogramStack]],
    labels: Mapping[str, Mapping[str, dict[str, float]]],
    objective: str,
    fixed: float,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Rows of each class and of their mean under one threshold, and the curves of the objective."""
    of_split = {
        split: MultiClassStack({k: v for k, v in found.items() if k != ANY_CLASS}, found[ANY_CLASS])
        for split, found in stacks.items()
        if found
    }
    rows: list[dict[str, Any]] = []
    for rule in RULES:
        levels = _shared_level(rule, of_split, objective, fixed)
        if levels is None:
            continue
        for split in ("test", "tune") if rule in ("fixed", "tuned") else ("test",):
            stack = of_split.get(split)
            if stack is None:
                continue
            cut, level = stack, levels if isinstance(levels, int) else LEVELS - 1
            if not isinstance(levels, int):
                cut = stack.cut_at(levels)
            shared = {
                "split": split,
                "rule": rule,
                "peeks_at": ThresholdRule(rule).peeks_at,
                "level": float(levels) if isinstance(levels, int) else math.nan,
                "threshold": levels / 255 if isinstance(levels, int) else math.nan,
            }
            each: list[dict[str, Any]] = [
                {
                    **shared,
                    "class_name": name,
                    **_at_level(cut, name, level, oracle=not isinstance(levels, int)),
                    **labels[split][name],
                    "images": len(one),
                    "images_with_class": int(one.holds_class.sum()),
                }
                for name, one in cut.classes.items()
            ]
            # NaN if one class lacks a figure: the mean of the others would not be one.
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
        "dataset_miou": lambda name: (test.dataset_iou(name) + test.background_iou()) / 2,
    }[objective]
    of_classes = {name: of_class(name) for name in test.classes}
    return rows, {**of_classes, MEAN_OF_CLASSES: test.objective(objective)}


def _shared_level(
    rule: str, of_split: Mapping[str, MultiClassStack], objective: str, fixed: float
) -> int | np.ndarray | None:
    """The level of all classes under a rule: one, or each image's own; None if there is none."""
    if rule == "fixed":
        return max(1, level_of(fixed))
    seen = of_split.get(PEEKED_SPLIT[rule])
    if seen is None:
        return None
    return seen.image_levels() if rule == "image_oracle" else seen.best_level(objective)


def _at_level(cut: MultiClassStack, name: str, level: int, *, oracle: bool) -> dict[str, float]:
    one, any_held = cut.classes[name], cut.holds_any
    # Over the same images as the dataset's IoU: those that hold any class.
    pooled = ScoreHistogram(
        one.foreground[any_held].sum(axis=0), one.background[any_held].sum(axis=0)
    )
    iou = float(cut.dataset_iou(name)[level])
    return {
        "per_image_iou": float(cut.per_image_iou(name)[level]),
        "dataset_iou": iou,
        "dataset_miou": (iou + float(cut.background_iou()[level])) / 2,
        "precision": float(pooled.precision()[level]),
        "recall": float(pooled.recall()[level]),
        "clear_false_positive_share": (
            math.nan if oracle else float(one.clear_false_positive_share()[level])
        ),
    }


def _mean_of_classes(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Average over classes; a figure that one class lacks has no mean, as it would not be one."""
    keys = ["network", "split", "rule", "peeks_at"]
    grouped = outcomes.groupby(keys, sort=False)[list(FIGURES)]
    complete = grouped.count() == outcomes["class_name"].nunique()
    means = grouped.mean().where(complete).reset_index()
    return means.assign(
        class_name=MEAN_OF_CLASSES,
        level=math.nan,
        threshold=math.nan,
        images=math.nan,
        images_with_class=math.nan,
    )[list(COLUMNS)]
