"""Accuracy in the groups that a label and a flag form, and the worst of them.

Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020: a model that
takes the flag for the class is wrong where the two disagree, however good its mean is.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

_Z = 1.959963984540054  # 97.5 % of the normal distribution


@dataclass(frozen=True)
class GroupAccuracy:
    """The images of one label that have a flag, or lack it.

    Attributes:
        flag: the flag's name.
        labelled: whether they hold the class.
        flagged: whether they have the flag.
        images: their number N.
        right: how many of them are classified rightly.
        iou: the mean IoU of those of them that hold the class; NaN where that is not known.

    """

    flag: str
    labelled: bool
    flagged: bool
    images: int
    right: int
    iou: float

    @property
    def accuracy(self) -> float:
        """Return right / N, in [0, 1]; NaN without an image."""
        return self.right / self.images if self.images else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the accuracy, see `score_interval`."""
        return score_interval(self.accuracy, self.images)


def score_interval(rate: float, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson, JASA 22, 1927).

    Args:
        rate: the proportion, in [0, 1].
        count: of how many; of none, everything is possible.

    """
    if not count:
        return 0.0, 1.0
    square = _Z * _Z
    middle = (rate + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(rate * (1 - rate) / count + square / (4 * count * count))
    half = _Z / (1 + square / count) * spread
    return max(0.0, middle - half), min(1.0, middle + half)


def flag_groups(
    labelled: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    flags: Mapping[str, NDArray[np.bool_]],
    iou: NDArray[np.floating] | None = None,
) -> list[GroupAccuracy]:
    """Return the four groups of each flag.

    Args:
        labelled: bool [N], which images hold the class.
        predicted: bool [N], of which the network says so.
        flags: name -> bool [N], which images have it.
        iou: [N], of each image with the class; None: not known.

    Returns:
        For each flag, in the given order: labelled with and without the flag, then unlabelled with
        and without it. Groups without an image are among them.

    Raises:
        InputError: arrays of different lengths.

    """
    count = len(labelled)
    given = {"predicted": predicted, **flags, **({} if iou is None else {"iou": iou})}
    for name, values in given.items():
        if values.shape != (count,):
            raise InputError(f"{name}: expected [{count}] as labelled, got {list(values.shape)}")
    right = labelled == predicted
    groups = []
    for name, has in flags.items():
        for label in (True, False):
            for flagged in (True, False):
                members = (labelled == label) & (has == flagged)
                known = iou[members] if label and iou is not None else np.empty(0)
                known = known[~np.isnan(known)]
                groups.append(
                    GroupAccuracy(
                        name,
                        label,
                        flagged,
                        int(members.sum()),
                        int(right[members].sum()),
                        float(known.mean()) if len(known) else float("nan"),
                    )
                )
    return groups


def worst_group(groups: Iterable[GroupAccuracy], *, least: int = 1) -> GroupAccuracy | None:
    """Return the group of the lowest accuracy among those of at least `least` images.

    Of several as bad the one with most images; None where all groups are smaller.
    """
    large = [group for group in groups if group.images >= max(1, least)]
    return min(large, key=lambda group: (group.accuracy, -group.images), default=None)
