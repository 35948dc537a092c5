"""Thumbnails of images, and near twins by them: re-saved, resized, the next frame of a video.

Two images are twins if their thumbnails of 32x24 pixels differ by at most 2 of 255 (root of the
mean square over pixels and channels).
"""

import numpy as np
from PIL import Image

THUMBNAIL = (32, 24)
"""Width and height of a thumbnail."""

TWIN_DISTANCE = 2.0
"""The largest distance of twins, of 255."""

_BLOCK = 4  # thumbnails are first compared by the means of 4x4 pixels
_AT_ONCE = 2**22  # distances held at once: 16 MB
_CANDIDATES = 256  # thumbnails that are compared pixel by pixel at once


def reduce_to_thumbnail(image: Image.Image) -> Image.Image:
    """Return an RGB image at the size of a thumbnail.

    The filter is bilinear and widens with the factor: a box of few pixels would depend on the size
    that the image was decoded at.
    """
    return image.resize(THUMBNAIL, Image.Resampling.BILINEAR)


def make_thumbnail(image: Image.Image) -> np.ndarray:
    """Return uint8 [2304]: the pixels of an RGB image at the size of a thumbnail, row by row."""
    return np.asarray(reduce_to_thumbnail(image)).ravel()


def find_twins(those: np.ndarray, others: np.ndarray, *, apart: bool = False) -> np.ndarray:
    """Return int64 [N]: the index of a twin of each of `those` among `others`, or -1.

    Means of blocks differ by no more than their pixels (Jensen's inequality), so thumbnails whose
    blocks are far apart are no twins, and only the others are compared pixel by pixel.

    Args:
        those: thumbnails, uint8 [N, 2304].
        others: thumbnails, uint8 [M, 2304].
        apart: `others` are the same images, and none is its own twin.

    >>> grey = np.full((1, 2304), 100, np.uint8)
    >>> find_twins(grey, np.concatenate([grey + 50, grey + 1])).tolist()
    [1]
    """
    found = np.full(len(those), -1, np.int64)
    if not len(those) or not len(others):
        return found
    left, right = _blocks(those), _blocks(others)
    squares = (right**2).sum(axis=1)
    # Single precision errs by less than the second term; what passes is compared exactly below.
    limit = TWIN_DISTANCE**2 * left.shape[1] * 1.01 + 8
    rows = max(1, _AT_ONCE // len(others))
    for start in range(0, len(those), rows):
        part = left[start : start + rows]
        distances = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ right.T
        if apart:
            own = np.arange(len(part))
            distances[own, start + own] = np.inf
        for row in np.flatnonzero((distances <= limit).any(axis=1)):
            near = np.flatnonzero(distances[row] <= limit)
            near = near[np.argsort(distances[row, near], kind="stable")]
            found[start + row] = _first_twin(those[start + row], others, near)
    return found


def _blocks(thumbnails: np.ndarray) -> np.ndarray:
    """Return float32 [N, 144], the mean of each block of pixels, about 0."""
    width, height = THUMBNAIL
    shape = (-1, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, 3)
    means = thumbnails.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(thumbnails), -1) - np.float32(128)


def _first_twin(thumbnail: np.ndarray, others: np.ndarray, near: np.ndarray) -> int:
    """Return the nearest twin among the first candidates that hold any; -1 without a twin."""
    for start in range(0, len(near), _CANDIDATES):
        few = near[start : start + _CANDIDATES]
        differences = others[few].astype(np.int32) - thumbnail.astype(np.int32)
        distances = (differences**2).mean(axis=1)
        if distances.min() <= TWIN_DISTANCE**2:
            return int(few[distances.argmin()])
    return -1
