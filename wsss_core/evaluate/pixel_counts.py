"""Pixels per score level, counted in one pass over a map, and the figures per threshold they give.

Measured on one core (512x512, NumPy 2.4; the figures justify the two ways below):

- `np.bincount` costs about 1.1 ns an element, whatever the element's type: it casts to int64, scans
  for the extremes and counts. Counting bytes one by one therefore takes 0.30 ms a map.
- Read as uint16, a map has half as many elements of two pixels each. Counting those into 65,536
  bins and adding the bins up along both axes takes 0.19 ms: the way of `count_levels`. The bins
  cost a fixed 28 us, so small maps are counted byte by byte.
- A mask with few pixels is gathered and counted on its own (0.06 ms at a tenth of the map). One
  with many is cheaper folded into the index, score + 256 * region, and counted in a single pass
  (0.35 ms).

A figure takes counts [..., 256], of one histogram or of many at once, and returns float64
[..., 256] whose entry t is that of the prediction "foreground where score >= t". Counts are whole
numbers and each figure is a single division, so the result is the float64 that a loop over the
thresholds would give, not an approximation of it. An empty denominator gives 0: the limit of
inter / (union + 1e-8), the form of the thesis (arXiv 2507.21959).
"""

import numpy as np
from numpy.typing import NDArray

SCORE_LEVELS = 256
"""Score levels of a map: a pixel is foreground at threshold t = 0..255 where score >= t."""

_PAIRS_PAY_FROM = 40_000  # pixels; both ways take 50 us near 200 x 200
_SPARSE_SHARE = 8  # a region is gathered up to an eighth of the map


def count_levels(scores: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels at each of the 256 levels.

    Args:
        scores: uint8 [P], contiguous.

    Returns:
        int64 [256], summing to P.

    """
    if scores.size < _PAIRS_PAY_FROM:
        return np.bincount(scores, minlength=SCORE_LEVELS)
    even = scores.size - scores.size % 2
    pairs = np.bincount(scores[:even].view(np.uint16), minlength=SCORE_LEVELS * SCORE_LEVELS)
    pairs = pairs.reshape(SCORE_LEVELS, SCORE_LEVELS)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    if even < scores.size:
        counts[scores[-1]] += 1
    return counts


def count_by_region(
    scores: NDArray[np.uint8], mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the levels inside and outside a mask, leaving ignored pixels out of both.

    Args:
        scores: uint8 [P], contiguous, of P = h * w pixels.
        mask: bool [h, w], true on the class.
        ignore: bool [h, w], true where the pixel counts for nothing; None if there is no such
            pixel.

    Returns:
        Foreground and background counts, int64 [256] each.

    """
    if ignore is not None:
        mask = mask & ~ignore
    picked = np.count_nonzero(mask) + (0 if ignore is None else np.count_nonzero(ignore))
    if picked * _SPARSE_SHARE > scores.size:
        return _count_folded(scores, mask, ignore)
    # Not scores[mask]: a ragged mask makes that ten times slower.
    foreground = count_levels(scores.take(np.flatnonzero(mask)))
    background = count_levels(scores) - foreground
    if ignore is not None:
        background -= count_levels(scores.take(np.flatnonzero(ignore)))
    return foreground, background


def _count_folded(
    scores: NDArray[np.uint8], mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count score + 256 * region once: region 0 is background, 1 the mask, 2 ignored."""
    index = mask.astype(np.uint16)
    if ignore is not None:
        index[ignore] = 2
    index <<= 8
    index |= scores.reshape(mask.shape)
    counts = np.bincount(index.ravel(), minlength=3 * SCORE_LEVELS)
    return counts[SCORE_LEVELS : 2 * SCORE_LEVELS], counts[:SCORE_LEVELS]


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
