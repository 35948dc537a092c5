"""The lift of a class beside something that accompanies it, with an interval.

The lift is P(class | companion) / P(class). With the share w of the images that have the companion
it is a rising function of the ratio R = P(class | companion) / P(class | no companion), namely
R / (w R + 1 - w). So the ends of an interval of R give those of the lift, for the given w. The
interval of R is Koopman's score interval (Biometrics 40, 1984), which is defined where a count is 0
too.

Images of a group (frames of a clip, crops of a frame) are not independent. The counts of each side
are divided by their design effect first (Rao and Scott, Biometrics 48, 1992): the variance of the
share over groups, divided by the variance that independent images would have.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

_FARTHEST = 40.0  # natural logarithm of the largest ratio that is looked at
_HALVINGS = 60  # of 80, the widest bracket: the ends are exact to rounding


@dataclass(frozen=True)
class Counted:
    """How many images there are, and how many of them hold the class.

    Attributes:
        holding: those that hold the class; a number, or float64 [M]. Not whole after `effective`.
        images: all of them; as `holding`.

    """

    holding: np.ndarray | float
    images: np.ndarray | float


def lift(companion: Counted, rest: Counted) -> float:
    """Return P(class | companion) / P(class).

    Args:
        companion: the images with the companion, at least one.
        rest: the other images. One of all images holds the class.

    >>> lift(Counted(9, 10), Counted(1, 10))
    1.8
    """
    holding, images = companion.holding + rest.holding, companion.images + rest.images
    return float(companion.holding * images / (companion.images * holding))


def lift_intervals(
    companion: Counted, rest: Counted, share: np.ndarray | float, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals of lifts, float64 [M] each.

    Args:
        companion: the images with the companion, as many as count as independent.
        rest: the other images.
        share: the share of all images that have the companion, in (0, 1).
        confidence: coverage of the intervals, in (0, 1).

    >>> low, high = lift_intervals(Counted(9, 10), Counted(1, 10), share=0.5)
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([1.36], [1.96])
    """
    low, high = ratio_intervals(companion, rest, confidence)
    return _lift_of(low, share), _lift_of(high, share)


def _lift_of(ratio: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(ratio), 1 / np.asarray(share), ratio / (share * ratio + 1 - share))


def ratio_intervals(
    first: Counted, second: Counted, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return Koopman's intervals of ratios of two shares; ends are 0 to infinity.

    Args:
        first: the counts of the numerators, of at least one image each.
        second: the counts of the denominators.
        confidence: coverage of the intervals, in (0, 1).

    The example is the one of the paper.

    >>> low, high = ratio_intervals(Counted(36, 40), Counted(16, 80))
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([2.94], [7.15])
    """
    y1, n1, y2, n2 = np.atleast_1d(
        *np.broadcast_arrays(first.holding, first.images, second.holding, second.images)
    )
    y1, n1, y2, n2 = (values.astype(np.float64) for values in (y1, n1, y2, n2))
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.clip(np.log((y1 / n1) / (y2 / n2)), -_FARTHEST, _FARTHEST)
    centre = np.where(np.isnan(centre), 0.0, centre)  # neither holds any
    quantile = float(chdtri(1, 1 - confidence))  # of chi-squared with one degree of freedom

    def end(farthest: float) -> np.ndarray:
        inside, outside = centre, np.full(len(centre), farthest)
        open_ended = _chi_squared(y1, n1, y2, n2, np.exp(outside)) <= quantile
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = _chi_squared(y1, n1, y2, n2, np.exp(middle)) <= quantile
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        beyond = 0.0 if farthest < 0 else np.inf
        return np.where(open_ended | (centre == farthest), beyond, np.exp(inside))

    return end(-_FARTHEST), end(_FARTHEST)


def _chi_squared(
    y1: np.ndarray, n1: np.ndarray, y2: np.ndarray, n2: np.ndarray, ratio: np.ndarray
) -> np.ndarray:
    """Return Pearson's statistic of both shares under their likeliest values with this ratio."""
    total = y1 + y2
    a = ratio * (n1 + n2)
    b = ratio * (n1 + y2) + y1 + n2
    root = 2 * total / (b + np.sqrt(np.maximum(0.0, b * b - 4 * a * total)))
    likeliest = np.minimum(np.minimum(root, 1.0), 1 / ratio)  # rounding may lead beyond
    return _squared_residual(y1, n1, ratio * likeliest) + _squared_residual(y2, n2, likeliest)


def _squared_residual(holding: np.ndarray, images: np.ndarray, share: np.ndarray) -> np.ndarray:
    missing = holding - images * share
    variance = images * share * (1 - share)
    none = np.abs(missing) < 1e-9 * np.maximum(1.0, images)  # 0 / 0 where a share is 0 or 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(none, 0.0, np.where(variance > 0, missing**2 / variance, np.inf))


def effective(holding: np.ndarray, groups: np.ndarray) -> Counted:
    """Return the counts of independent images that would know the share as well as these do.

    Args:
        holding: bool [N], which images hold the class; N is at least 1.
        groups: int [N], the group of each, 0 or more.

    Returns:
        The share is kept. Where all images or none hold the class, or all are of one group, each
        group counts as one image.

    >>> effective(np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1]))
    Counted(holding=0.5, images=1.0)
    """
    images, share = len(holding), float(holding.mean())
    sizes = np.bincount(groups)
    number = int((sizes > 0).sum())
    if number == images:
        return Counted(share * images, float(images))
    if number == 1 or share in (0.0, 1.0):
        return Counted(share * number, float(number))
    residuals = np.bincount(groups, holding - share)
    variance = number / (number - 1) * float((residuals**2).sum()) / images**2
    effect = max(1.0, variance * images / (share * (1 - share)))
    return Counted(share * images / effect, images / effect)
