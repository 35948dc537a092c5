"""Scores of an image's maps that no label and no mask goes into.

They say, image by image, whether a map can be trusted, so that a step is applied where it helps.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.refine.own_thresholds import own_cut

LabelFreeScore = Literal["agreement", "entropy", "area"]


def map_agreement(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the IoU of two maps of an image, each cut at its own threshold by Otsu.

    Any increasing linear change of a map's scores changes nothing but by the rounding to 256
    levels.

    Args:
        one: floats in 0..1, [K, H, W].
        other: the same shape.

    Returns:
        0..1, over the pixels of all classes together; 1 where neither map holds anything.

    Raises:
        InputError: maps of different shapes.

    """
    if one.shape != other.shape:
        raise InputError(f"agreement: expected maps of one shape, got {one.shape}, {other.shape}")
    first, second = own_cut(one), own_cut(other)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def map_entropy(scores: NDArray[np.floating]) -> float:
    """Return the mean entropy of an image's scores in bits, each taken as a probability.

    Args:
        scores: floats in 0..1, [K, H, W].

    Returns:
        0..1: 0 for maps of 0 and 1 alone, 1 for maps that are .5 everywhere.

    """
    p = np.asarray(scores, np.float64)
    inside = (p > 0) & (p < 1)
    p = p[inside]
    bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return float(bits.sum() / inside.size)


def map_area(scores: NDArray[np.floating]) -> float:
    """Return the share of pixels that belong to some class, each map cut at its own threshold.

    Args:
        scores: floats in 0..1, [K, H, W].

    Returns:
        0..1.

    """
    return float(own_cut(scores).any(axis=0).mean())
