"""What maps say under another gating than the study's: to oracles, and to masks gated by labels.

An oracle is an upper bound. Gating by the network's prediction may empty every map of a class, and
an oracle of empty maps bounds nothing. It may also remove competitors that are absent. So an oracle
takes whichever reaches more: the gated maps or the ungated ones, for each image if it chooses a
threshold for each image.

Pseudo masks may be gated by the known labels of their images. A threshold that was tuned on maps
that the prediction has emptied says nothing about the maps that labels let through.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.names import ANY_CLASS
from reports.results.score_rows import LABEL_GATED, ScoreRows
from wsss_core.evaluate import HistogramStack, MultiClassStack, Objective


def competing(stacks: Mapping[str, HistogramStack]) -> MultiClassStack:
    """Return the stacks of competing classes, one of `ANY_CLASS` among them, as one."""
    classes = {name: stack for name, stack in stacks.items() if name != ANY_CLASS}
    return MultiClassStack(classes, stacks[ANY_CLASS])


def oracle_stack(
    rule: str, gated: HistogramStack, ungated: HistogramStack | None, objective: str
) -> HistogramStack:
    """Return the histograms of one class that an oracle chooses its thresholds by.

    Args:
        rule: "dataset_oracle" or "image_oracle".
        gated: the test split's histograms.
        ungated: the same without gating; None if gating removed nothing.
        objective: what the dataset oracle maximises.

    """
    if ungated is None or not gated.holds_class.any():
        return gated
    if rule == "image_oracle":
        better = ungated.iou().max(axis=1) > gated.iou().max(axis=1)
        return gated.with_images_of(ungated, better)
    reached = [Objective(objective).curve(stack).max() for stack in (gated, ungated)]
    return ungated if reached[1] > reached[0] else gated


def oracle_stacks(
    rule: str, gated: MultiClassStack, ungated: MultiClassStack | None, objective: str
) -> MultiClassStack:
    """Return the histograms of competing classes for an oracle; see `oracle_stack`."""
    if ungated is None:
        return gated
    if rule == "image_oracle":
        better = ungated.image_sums()[:, 1:].max(axis=1) > gated.image_sums()[:, 1:].max(axis=1)
        return gated.with_images_of(ungated, better)
    curves = [stack.objective(objective)[1:] for stack in (gated, ungated)]
    if any(np.isnan(curve).any() for curve in curves):
        return gated  # a class occurs in no image, so there is nothing to choose by
    return ungated if curves[1].max() > curves[0].max() else gated


@dataclass(frozen=True)
class LevelChoice:
    """A tuned threshold.

    Attributes:
        level: 0-255.
        reached: the objective there, on the images that it is tuned on.

    """

    level: int
    reached: float


def needs_label_gating(scores: ScoreRows) -> bool:
    """Return whether labels let other maps of the tune split through than the prediction does."""
    rows = _tune(scores)
    return bool(((rows.logits["logit"] > 0) != rows.labelled).any())


def label_gated_choice(scores: ScoreRows, objective: str) -> LevelChoice | None:
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
    return best_choice(stacks, objective)


def best_choice(stacks: Mapping[str, HistogramStack], objective: str) -> LevelChoice | None:
    """Return the smallest of the best levels of one class, or of several that compete.

    Args:
        stacks: the histograms of each class; of several, those of `ANY_CLASS` too.
        objective: what is maximised, one of `reports.names.MEASURES`.

    Returns:
        None where a class occurs in no image.

    """
    if ANY_CLASS in stacks:
        several = competing(stacks)
        level, curve = several.best_level(objective), several.objective(objective)
    else:
        (stack,) = stacks.values()
        curve = Objective(objective).curve(stack)
        level = None if np.isnan(curve).any() else int(curve.argmax())
    return None if level is None else LevelChoice(level, float(curve[level]))


def _tune(scores: ScoreRows) -> ScoreRows:
    texts = scores.texts
    return scores.at((texts["split"] == "tune") & (texts["network"] == "student"))
