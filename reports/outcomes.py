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
from wsss_core.evaluate.thresholds import Objective, ThresholdRule, choose_threshold, evaluate

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
        The trial's figures. A rule that needs masks which do not hold the class has no row; of
        several classes, rows of ``MEAN_OF_CLASSES`` give the unweighted mean.

    """
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], np.ndarray] = {}
    image_iou: dict[tuple[str, str], np.ndarray] = {}
    clear_share: dict[tuple[str, str], np.ndarray] = {}
    images: dict[tuple[str, str], tuple[str, ...]] = {}
    for key, group in scores.groupby(["network", "class_name"], sort=True):
        network, name = (str(part) for part in key)
        splits = {split: group[group["split"] == split] for split in ("tune", "test")}
        stacks = {split: _stack(part) for split, part in splits.items()}
        test = stacks["test"]
        if test is None:
            continue
        labels = {
            split: classification(part["labelled"].to_numpy(bool), part["logit"].to_numpy())
            for split, part in splits.items()
        }
        here = _split_rows(stacks, labels, objective, fixed)
        rows += [{"network": network, "class_name": name, **row} for row in here]
        curves[network, name] = np.asarray(getattr(test, objective)())
        image_iou[network, name] = np.asarray(test.iou())
        clear_share[network, name] = false_positive_share(test.background)
        images[network, name] = tuple(splits["test"]["image"])
    outcomes = pd.DataFrame(rows, columns=list(COLUMNS))
    if outcomes["class_name"].nunique() > 1:
        outcomes = pd.concat([outcomes, _mean_of_classes(outcomes)], ignore_index=True)
        for network in outcomes["network"].unique():
            of_network = [curve for (owner, _), curve in curves.items() if owner == network]
            curves[network, MEAN_OF_CLASSES] = np.mean(of_network, axis=0)
    return TrialFigures(outcomes, curves, image_iou, clear_share, images)


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
