"""Where a map's mass and peaks lie, by figures of saliency and weakly supervised localisation.

All but the boxes follow from score histograms, so no map is opened for them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS
from wsss_core.evaluate.score_histogram import HistogramStack

BOX_LEVELS = tuple(range(8, SCORE_LEVELS, 8))
"""Levels at which boxes are drawn, 31 of 255: each takes a pass over the map."""

BOX_OVERLAPS = (0.3, 0.5, 0.7)
"""The IoU of boxes from which MaxBoxAccV2 counts an image as found."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


def saliency_recall(histograms: HistogramStack, mass: float) -> NDArray[np.float64]:
    """Return the share of each object above the level that holds a share of the map's mass.

    The level is the highest from which on upwards the pixels hold at least `mass` of the sum of all
    scores (Moayeri et al., "Hard ImageNet", NeurIPS 2022, at 75, 50 and 25 %).

    Args:
        histograms: of N images.
        mass: in (0, 1].

    Returns:
        float64 [N] in [0, 1]; NaN where an image lacks the object or its map is empty.

    Raises:
        InputError: a mass out of range.

    """
    if not 0 < mass <= 1:
        raise InputError(f"mass: expected above 0, at most 1, got {mass}")
    pixels = histograms.foreground + histograms.background
    above = (pixels * np.arange(SCORE_LEVELS))[:, ::-1].cumsum(axis=1)
    whole = above[:, -1:]
    # The first level from the top that is enough; a pixel of score 0 adds nothing to the mass.
    reached = (above >= mass * whole).argmax(axis=1)
    found = histograms.foreground[:, ::-1].cumsum(axis=1)
    hits = np.take_along_axis(found, reached[:, np.newaxis], axis=1)[:, 0]
    objects = found[:, -1]
    known = (objects > 0) & (whole[:, 0] > 0)
    return np.divide(hits, objects, out=np.full(len(hits), np.nan), where=known)


def delta_density(histograms: HistogramStack) -> NDArray[np.float64]:
    """Return the mean score inside the object minus that outside.

    Args:
        histograms: of N images.

    Returns:
        float64 [N] in [-1, 1]; NaN where an image has no pixel of either kind.

    """
    means = []
    for counts in (histograms.foreground, histograms.background):
        pixels = counts.sum(axis=1)
        scores = counts @ np.arange(SCORE_LEVELS) / (SCORE_LEVELS - 1)
        means.append(np.divide(scores, pixels, out=np.full(len(pixels), np.nan), where=pixels > 0))
    difference: NDArray[np.float64] = means[0] - means[1]
    return difference


def pixel_average_precision(histograms: HistogramStack) -> float:
    """Return PxAP, the area under precision over recall of the pixels of all images, pooled.

    It is the sum over thresholds of precision times the step in recall (Choe et al., "Evaluating
    Weakly Supervised Object Localization Methods Right", CVPR 2020), at all 256 levels.

    Args:
        histograms: of the images that are pooled: there, those that hold the class.

    Returns:
        In [0, 1]; NaN where no image holds the class.

    """
    hits = histograms.foreground.sum(axis=0)[::-1].cumsum()
    marked = hits + histograms.background.sum(axis=0)[::-1].cumsum()
    if not hits[-1]:
        return float("nan")
    precision = np.divide(hits, marked, out=np.zeros(SCORE_LEVELS), where=marked > 0)
    return float((precision * np.diff(hits, prepend=0)).sum() / hits[-1])


def box_overlaps(
    levels: NDArray[np.uint8],
    truth: NDArray[np.bool_],
    at: Sequence[int] = BOX_LEVELS,
) -> NDArray[np.float64]:
    """Return the best IoU of a predicted box with a true one, at each threshold.

    A box is the smallest around a region of pixels that touch, corners included. Of all predicted
    and true boxes the best pair counts (MaxBoxAccV2 of Choe et al., CVPR 2020, whose true boxes are
    drawn by people; here they are those of the mask's regions).

    Args:
        levels: uint8 [h, w], the map at the mask's resolution.
        truth: bool [h, w], the object.
        at: T thresholds of 0 to 255; a pixel at or above is marked.

    Returns:
        float64 [T] in [0, 1]; 0 where nothing is marked; NaN where there is no object.

    Raises:
        InputError: arrays of other types or of different shapes.

    """
    if levels.dtype != np.uint8 or truth.dtype != np.bool_ or levels.shape != truth.shape:
        raise InputError(
            f"levels and truth: expected uint8 and bool [h, w], got {levels.dtype} "
            f"{list(levels.shape)} and {truth.dtype} {list(truth.shape)}"
        )
    true = _boxes(truth)
    if not len(true):
        return np.full(len(at), np.nan)
    return np.array([_best_overlap(_boxes(levels >= level), true) for level in at])


def max_box_accuracy(overlaps: ArrayLike, deltas: Sequence[float] = BOX_OVERLAPS) -> float:
    """Return MaxBoxAccV2: the share of images found at the best threshold, averaged over overlaps.

    The best threshold of each overlap is taken with the masks in view: an upper bound.

    Args:
        overlaps: real [N, T], `box_overlaps` of N images. Images of NaN are left out.
        deltas: the IoU of boxes from which an image is found.

    Returns:
        In [0, 1]; NaN without an image.

    """
    rows = np.asarray(overlaps, float)
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        return float("nan")
    return float(np.mean([(rows >= delta).mean(axis=0).max() for delta in deltas]))


def _boxes(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return top, left, bottom and right of each region's box, int64 [B, 4]."""
    from scipy import ndimage

    numbered, _ = ndimage.label(region, structure=_EIGHT_NEIGHBOURS)
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(numbered)
    ]
    return np.array(boxes, np.int64).reshape(-1, 4)


def _best_overlap(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    if not len(found):
        return 0.0
    one, other = found[:, np.newaxis], true[np.newaxis]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other)]
    best: float = (shared / (areas[0] + areas[1] - shared)).max()
    return best
