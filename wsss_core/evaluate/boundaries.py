"""IoU of the pixels near the outlines of masks (Cheng et al., "Boundary IoU", CVPR 2021).

A large object's IoU says little about its outline. Boundary IoU compares the pixels of the true
mask that are near its outline with those of the predicted mask that are near its own.
"""

import math

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.confusion import check_label_maps

BOUNDARY_SHARE = 0.02
"""The width of the boundary as a share of the image's diagonal, as in the paper."""


def boundary_counts(
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: int,
    *,
    width: int | None = None,
) -> NDArray[np.int64]:
    """Count the pixels near the outlines of each class in one image.

    A mask's boundary are its pixels at most `width` from a pixel that is not of the mask, diagonals
    included. What lies outside the image is not of the mask, as in the authors' code. They know no
    void pixels. Here such a pixel makes no outline, because nobody knows what it is, and is then
    left out.

    Args:
        predicted: integers [h, w], see `confusion_counts`.
        truth: integers [h, w]; 255 is void.
        classes: K, without the background.
        width: in pixels; None: a fiftieth of the diagonal, at least 1.

    Returns:
        int64 [K + 1, 2], the intersection and the union of the boundaries, the background first.
        Counts of images add up.

    Raises:
        InputError: see `confusion_counts`, or a width below 1.

    """
    counted = check_label_maps(predicted, truth, classes)
    if width is None:
        width = max(1, round(BOUNDARY_SHARE * math.hypot(*truth.shape)))
    if width < 1:
        raise InputError(f"width: expected at least 1 pixel, got {width}")
    counts = np.zeros((classes + 1, 2), np.int64)
    for value in range(classes + 1):
        true, found = (
            (labels == value) & counted & ~_eroded((labels == value) | ~counted, width)
            for labels in (truth, predicted)
        )
        counts[value] = np.count_nonzero(true & found), np.count_nonzero(true | found)
    return counts


def boundary_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the boundary IoU of counts [..., K + 1, 2], float64 [..., K + 1].

    NaN where no pixel is near an outline of the class. Counts added over images give the IoU over
    the pixels of all of them.
    """
    hits, union = counts[..., 0], counts[..., 1]
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def _eroded(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Return the pixels whose square of 2 * width + 1 pixels lies in the mask, bool [h, w]."""
    from scipy import ndimage

    return ndimage.minimum_filter(mask, size=2 * width + 1, mode="constant", cval=False)
