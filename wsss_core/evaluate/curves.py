"""From pixels per score level to figures per threshold, for one histogram or many at once.

Every function takes counts [..., 256] and returns float64 [..., 256] whose entry t is the figure of
the prediction "foreground where score >= t". Counts are whole numbers and each figure is a single
division, so the result is the float64 that a loop over the thresholds would give, not an
approximation of it.

An empty denominator gives 0: the limit of inter / (union + 1e-8), the form of the thesis (arXiv
2507.21959).
"""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Curve = NDArray[np.float64]


def at_least(counts: Counts) -> Counts:
    """Count the pixels that score t or more, for each t; int64 [..., 256]."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def share(part: Counts, whole: Counts) -> Curve:
    """Divide, with 0 where the whole is empty; float64 of the shape the two broadcast to."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def iou(foreground: Counts, background: Counts) -> Curve:
    """Return the intersection over union of the class: TP / (TP + FP + FN)."""
    class_pixels = foreground.sum(axis=-1, keepdims=True)
    return share(at_least(foreground), class_pixels + at_least(background))


def background_iou(foreground: Counts, background: Counts) -> Curve:
    """Return the intersection over union of the background: TN / (TN + FP + FN)."""
    other_pixels = background.sum(axis=-1, keepdims=True)
    missed = foreground.sum(axis=-1, keepdims=True) - at_least(foreground)
    return share(other_pixels - at_least(background), other_pixels + missed)


def precision(foreground: Counts, background: Counts) -> Curve:
    """Return the share of the predicted pixels that hold the class: TP / (TP + FP)."""
    hits = at_least(foreground)
    return share(hits, hits + at_least(background))


def recall(foreground: Counts) -> Curve:
    """Return the share of the class's pixels that are predicted: TP / (TP + FN)."""
    return share(at_least(foreground), foreground.sum(axis=-1, keepdims=True))


def false_positive_share(background: Counts) -> Curve:
    """Return the share of the background's pixels predicted as the class: FP / (FP + TN)."""
    return share(at_least(background), background.sum(axis=-1, keepdims=True))
