"""From one trial's score histograms to its figures: a row per network, class, split and rule.

IoU comes in the three definitions that the field mixes up: the mean over images of foreground IoU,
foreground IoU over all pixels, and mIoU of foreground and background over all pixels; all three
over the images that hold the class. What a network predicts on the others is a figure of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.scored_network import (
    ANY_CLASS,
    FIGURES,
    MEAN_OF_CLASSES,
    MEASURES,
    ORACLES,
    RULES,
    Rules,
    ScoredNetwork,
    histogram_stack,
)
from reports.several_classes import several_classes
from wsss_core.evaluate import NoThresholdError, choose_threshold, evaluate
from wsss_core.evaluate.curves import false_positive_share

__all__ = [
    "ANY_CLASS",
    "COLUMNS",
    "FIGURES",
    "MEAN_OF_CLASSES",
    "MEASURES",
    "ORACLES",
    "RULES",
    "TrialFigures",
    "classification",
    "histogram_stack",
    "trial_figures",
]

COLUMNS = (
    "network",
    "class_name",
    "split",
    "rule",
    "peeks_at",
    "level",
    "threshold",
    "price",
    *FIGURES,
    "images",
    "images_with_class",
)


@dataclass(frozen=True)
class TrialFigures:
    """Everything that follows from the scores of one trial.

    Attributes:
        outcomes: One row per network x class x split x rule, shares in [0, 1]; columns ``COLUMNS``.
            ``price`` is what a rule loses by not knowing the test masks: the objective under the
            dataset oracle less that under the rule. Oracles, which do know them, have none.
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


def _split_rows(network: ScoredNetwork, name: str, rules: Rules) -> list[dict[str, Any]]:
    stacks = {split: of_split.get(name) for split, of_split in network.stacks.items()}
    found = []
    for rule in rules.names:
        try:
            choice = choose_threshold(
                rule,
                tune=stacks["tune"],
                test=stacks["test"],
                scores=network.pooled[name],
                objective=rules.objective,
                fixed=rules.fixed,
            )
        except NoThresholdError:
            continue
        # A level that comes of the test split says nothing about the tune split.
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
                    **network.labels[split][name],
                    "images": len(stack),
                    "images_with_class": int(stack.holds_class.sum()),
                }
            )
    return found


def trial_figures(
    scores: pd.DataFrame, *, objective: str, fixed: float, own_rules: Sequence[str] = ()
) -> TrialFigures:
    """Evaluate one trial.

    Args:
        scores: Rows of the ledger's ``scores`` table, all of one trial under one refinement.
        objective: What the tuned and the oracle rules maximise, one of ``MEASURES``.
        fixed: Threshold of the fixed rule, in [0, 1].
        own_rules: Threshold rules besides ``RULES``, each "module:attribute"
            (``wsss_core.evaluate.own_rule``).

    Returns:
        The trial's figures. A rule that has nothing to choose by, such as masks that do not hold
        the class, has no row. Several classes share one background threshold
        (``wsss_core.evaluate.MultiClassStack``) and have rows of ``MEAN_OF_CLASSES`` besides.

    Raises:
        InputError: An own rule that cannot be loaded, or fails.

    """
    rules = Rules((*RULES, *own_rules), objective, fixed)
    rows: list[dict[str, Any]] = []
    curves: dict[tuple[str, str], np.ndarray] = {}
    image_iou: dict[tuple[str, str], np.ndarray] = {}
    clear_share: dict[tuple[str, str], np.ndarray] = {}
    images: dict[tuple[str, str], tuple[str, ...]] = {}
    for network, of_network in scores.groupby("network", sort=True):
        one = ScoredNetwork()
        for both, group in of_network.groupby(["class_name", "split"], sort=True):
            name, split = (str(part) for part in both)
            stack = one.stacks[split][name] = histogram_stack(group)
            labelled = group["labelled"].to_numpy(bool)
            one.labels[split][name] = classification(labelled, group["logit"].to_numpy())
            if split == "test":
                one.pooled[name] = stack.pooled_scores(labelled)
            if split == "test" and name != ANY_CLASS:
                key = str(network), name
                image_iou[key] = np.asarray(stack.iou())
                clear_share[key] = false_positive_share(stack.background)
                images[key] = tuple(group["image"])
        if not one.stacks["test"]:
            continue
        if ANY_CLASS in one.stacks["test"]:
            here, of_classes = several_classes(one, rules)
        else:
            here, of_classes = _one_against_the_rest(one, rules)
        rows += [{"network": str(network), **row} for row in here]
        curves |= {(str(network), name): curve for name, curve in of_classes.items()}
    outcomes = _priced(pd.DataFrame(rows, columns=list(COLUMNS)), objective)
    return TrialFigures(outcomes, curves, image_iou, clear_share, images)


def _priced(outcomes: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Fill the price in: the dataset oracle's objective less each other rule's, on test."""
    keys = ["network", "class_name"]
    oracles = outcomes.loc[outcomes["rule"] == "dataset_oracle", [*keys, objective]]
    best = outcomes[keys].merge(oracles, how="left", on=keys)[objective].astype(float)
    paying = (outcomes["split"] == "test") & ~outcomes["rule"].isin(ORACLES)
    return outcomes.assign(price=(best - outcomes[objective].astype(float)).where(paying))


def _one_against_the_rest(
    network: ScoredNetwork, rules: Rules
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Rows of the only class; of several without competition, as older ledgers hold them."""
    rows: list[dict[str, Any]] = []
    test = network.stacks["test"]
    for name in test:
        rows += [{"class_name": name, **row} for row in _split_rows(network, name, rules)]
    of_classes = {k: np.asarray(getattr(one, rules.objective)()) for k, one in test.items()}
    if len(of_classes) > 1:
        frame = pd.DataFrame(rows).assign(network="")
        means = _mean_of_classes(frame).drop(columns="network")
        rows += [{str(k): v for k, v in row.items()} for row in means.to_dict("records")]
        of_classes[MEAN_OF_CLASSES] = np.mean(list(of_classes.values()), axis=0)
    return rows, of_classes


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
        price=math.nan,
        images=math.nan,
        images_with_class=math.nan,
    )[list(COLUMNS)]
