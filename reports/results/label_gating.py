"""Thresholds for maps that are gated by the labels of their images, as pseudo masks may be.

A study's own threshold is tuned on maps as the study gates them. Where the prediction has emptied
the maps of a class, it says nothing about maps that known labels let through.
"""

from dataclasses import dataclass

import numpy as np

from reports.names import ANY_CLASS
from reports.results.score_rows import LABEL_GATED, ScoreRows
from reports.results.several_classes import competing
from wsss_core.evaluate import HistogramStack, Objective


@dataclass(frozen=True)
class LabelGatedChoice:
    """The tuned threshold of a trial's maps that are gated by labels.

    Attributes:
        level: 0-255.
        reached: the objective there, on the tune split.

    """

    level: int
    reached: float


def needs_label_gating(scores: ScoreRows) -> bool:
    """Return whether labels let other maps of the tune split through than the prediction does."""
    rows = _tune(scores)
    return bool(((rows.logits["logit"] > 0) != rows.labelled).any())


def label_gated_choice(scores: ScoreRows, objective: str) -> LabelGatedChoice | None:
    """Choose the level that is best on the student's tune maps gated by labels.

    Args:
        scores: a trial's rows of the table `scores`, with the plain CAM.
        objective: what is maximised, one of `reports.names.MEASURES`.

    Returns:
        None if the ledger holds no such histograms: labels and prediction agree everywhere, the
        study gates nothing, or an earlier release has scored the trial.

    """
    stacks: dict[str, HistogramStack] = {}
    gated = False
    for (name,), rows in _tune(scores).groups("class_name"):
        by_labels = rows.stack_of(LABEL_GATED)
        gated |= by_labels is not None
        stacks[name] = rows.stack() if by_labels is None else by_labels
    if not gated:
        return None
    if ANY_CLASS in stacks:
        several = competing(stacks)
        level = several.best_level(objective)
        return None if level is None else _choice(several.objective(objective), level)
    (stack,) = stacks.values()
    curve = Objective(objective).curve(stack)
    return None if np.isnan(curve).any() else _choice(curve, int(curve.argmax()))


def _choice(curve: np.ndarray, level: int) -> LabelGatedChoice:
    return LabelGatedChoice(level, float(curve[level]))


def _tune(scores: ScoreRows) -> ScoreRows:
    texts = scores.texts
    return scores.at((texts["split"] == "tune") & (texts["network"] == "student"))
