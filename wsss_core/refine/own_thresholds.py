"""A map's own threshold: where to cut it, found from its scores alone, without any mask.

Maps of one network differ in scale: some stay high off the object, others are low on it. A
threshold of each map's own follows that scale.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate import otsu_level, quantise
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS

OwnThreshold = Literal["otsu"] | Mapping[Literal["quantile"], float]
"""A rule: Otsu's, or the score below which a share of the pixels lies."""

_HALF_LEVEL = 0.5 / (SCORE_LEVELS - 1)


def own_threshold(scores: NDArray[np.floating], rule: OwnThreshold = "otsu") -> float | None:
    """Return where to cut a map, by its own scores.

    Args:
        scores: floats in 0..1, [H, W] of one class; of K classes [K, H, W], whose largest score at
            each pixel counts.
        rule: "otsu" (Otsu, 1979, on 256 levels), midway between its two sides; or {"quantile": q}
            with q between 0 and 1.

    Returns:
        A score above 0 and below 1; None where the map has one level alone, as there is nothing to
        separate.

    Raises:
        InputError: another rule or shape, or scores outside 0..1.

    Example:
        >>> scores = np.array([[0.7, 0.7, 0.8], [0.7, 1.0, 1.0]])
        >>> 0.8 < own_threshold(scores) < 1.0
        True
        >>> own_threshold(scores, {"quantile": 0.5})
        0.75

    """
    given = np.asarray(scores)
    if given.ndim not in (2, 3) or 0 in given.shape:
        raise InputError(f"scores: expected non-empty [H, W] or [K, H, W], got {given.shape}")
    largest = given if given.ndim == 2 else given.max(axis=0)
    levels = quantise(largest)
    level = otsu_level(np.bincount(levels.ravel(), minlength=SCORE_LEVELS))
    if level is None:
        return None
    if rule == "otsu":
        # Every score between the two sides cuts alike; the middle is as far from both.
        sides = int(levels[levels < level].max()) + int(levels[levels >= level].min())
        threshold = sides / 2 / (SCORE_LEVELS - 1)
    elif isinstance(rule, Mapping) and set(rule) == {"quantile"} and 0 < rule["quantile"] < 1:
        threshold = float(np.quantile(largest, rule["quantile"]))
    else:
        raise InputError(
            f"a map's own threshold is {rule!r}; expected 'otsu' or a quantile between 0 and 1"
        )
    return min(max(threshold, _HALF_LEVEL), 1 - _HALF_LEVEL)


def own_cut(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Cut each map at its own threshold by Otsu.

    Args:
        scores: floats in 0..1, [K, H, W].

    Returns:
        bool [K, H, W]; nothing of a map that has one level alone.

    """
    cut = np.zeros(scores.shape, np.bool_)
    for of_class, out in zip(scores, cut, strict=True):
        if (threshold := own_threshold(of_class)) is not None:
            out[...] = of_class >= threshold
    return cut
