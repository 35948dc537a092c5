"""The maps that oracles see: those of the better gating.

An oracle is an upper bound. Gating by the network's prediction may empty every map of a class, and
an oracle of empty maps bounds nothing. It may also remove competitors that are absent. So an oracle
takes whichever reaches more: the gated maps or the ungated ones, for each image if it chooses a
threshold for each image.
"""

import numpy as np

from wsss_core.evaluate import HistogramStack, MultiClassStack, Objective


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
