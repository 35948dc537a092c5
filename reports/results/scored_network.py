"""The scores of one network as histogram stacks, and how thresholds are chosen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wsss_core.evaluate import HistogramStack


@dataclass(frozen=True)
class Rules:
    """How thresholds are chosen: the names of rules, in order, and the study's settings."""

    names: tuple[str, ...]
    objective: str
    fixed: float


def _by_split() -> dict[str, Any]:
    return {"tune": {}, "test": {}}


@dataclass(frozen=True)
class ScoredNetwork:
    """The scores of one network.

    Attributes:
        stacks: by split and class.
        labels: accuracy and balanced accuracy of the image-level prediction, by split and class.
        pooled: pixels per level of the test images that carry the label, by class.

    """

    stacks: dict[str, dict[str, HistogramStack]] = field(default_factory=_by_split)
    labels: dict[str, dict[str, dict[str, float]]] = field(default_factory=_by_split)
    pooled: dict[str, np.ndarray] = field(default_factory=dict)
