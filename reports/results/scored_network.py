"""The scores of one network as histogram stacks, and what thresholds are chosen by."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wsss_core.evaluate import HistogramStack, Objective, ThresholdRule

RULES = tuple(str(rule) for rule in ThresholdRule)
ORACLES = tuple(str(rule) for rule in ThresholdRule if rule.is_oracle)
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


@dataclass(frozen=True)
class Rules:
    """What thresholds are chosen by: names of rules, in order, and the study's settings."""

    names: tuple[str, ...]
    objective: str
    fixed: float


def _by_split() -> dict[str, Any]:
    return {"tune": {}, "test": {}}


@dataclass(frozen=True)
class ScoredNetwork:
    """The scores of one network.

    Attributes:
        stacks: By split and class.
        labels: Accuracies, likewise.
        pooled: Pixels per level of the test images that carry the label, by class.

    """

    stacks: dict[str, dict[str, HistogramStack]] = field(default_factory=_by_split)
    labels: dict[str, dict[str, dict[str, float]]] = field(default_factory=_by_split)
    pooled: dict[str, np.ndarray] = field(default_factory=dict)
