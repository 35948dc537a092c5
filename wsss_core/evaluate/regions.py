"""Where a score map lies if not on the object: its context, a ring around it, elsewhere."""

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

RING_SHARE = 16
"""The ring is as wide as this fraction of the shorter side of the map."""

NOWHERE = "nowhere"
"""Where a map without any contrast peaks."""


def ring_around(mask: NDArray[np.bool_], width: int | None = None) -> NDArray[np.bool_]:
    """Return the pixels outside a mask at most `width` from it, diagonals included.

    Args:
        mask: bool [h, w].
        width: in pixels; None: a sixteenth of the shorter side, at least 1.

    Raises:
        InputError: a mask of another type or shape, or a width below 1.

    Example:
        >>> ring_around(np.array([[True, False, False, False]]), 2).tolist()
        [[False, True, True, False]]

    """
    _check_region("mask", mask, None)
    if width is None:
        width = max(1, round(min(mask.shape) / RING_SHARE))
    if width < 1:
        raise InputError(f"width: expected at least 1 pixel, got {width}")
    near = mask
    for axis in (0, 1):
        near = _dilated(near, width, axis)
    return near & ~mask


def _dilated(mask: NDArray[np.bool_], width: int, axis: int) -> NDArray[np.bool_]:
    """Mark pixels within `width` of the mask along the axis, by a running sum."""
    counts = np.cumsum(mask, axis=axis, dtype=np.int32)
    size = mask.shape[axis]
    last = np.minimum(np.arange(size) + width, size - 1)
    before = np.arange(size) - width - 1
    upper = counts.take(last, axis=axis)
    lower = counts.take(np.maximum(before, 0), axis=axis)
    inside = (before >= 0).reshape((-1, 1) if axis == 0 else (1, -1))
    return upper - np.where(inside, lower, 0) > 0


def peak_region(
    scores: NDArray[np.floating],
    object_mask: NDArray[np.bool_],
    context: NDArray[np.bool_] | None,
    ring: NDArray[np.bool_],
) -> str:
    """Return the region of the highest score: object, context, ring, elsewhere or `NOWHERE`.

    Of several equally high pixels the one in the first of these regions counts. A map that is the
    same everywhere points nowhere, whatever its score: a miss, not a hit on everything.

    Args:
        scores: float [h, w], without NaN.
        object_mask: bool [h, w].
        context: bool [h, w], or None where it is unknown.
        ring: bool [h, w].

    Raises:
        InputError: scores that are NaN, a region of another type or shape.

    """
    if scores.ndim != 2 or np.isnan(scores).any():
        raise InputError(
            f"scores: expected [h, w] without NaN, got {list(scores.shape)} "
            f"with {int(np.isnan(scores).sum())} NaN"
        )
    regions = {"object": object_mask, "context": context, "ring": ring}
    known = {name: region for name, region in regions.items() if region is not None}
    for name, region in known.items():
        _check_region(name, region, scores.shape)
    if scores.size == 0 or scores.min() == scores.max():
        return NOWHERE
    peak = scores == scores.max()
    return next((name for name, region in known.items() if (peak & region).any()), "elsewhere")


def _check_region(name: str, region: NDArray[np.bool_], shape: tuple[int, ...] | None) -> None:
    expected = region.ndim == 2 if shape is None else region.shape == shape
    if region.dtype != np.bool_ or not expected:
        wanted = "[h, w]" if shape is None else str(list(shape))
        raise InputError(f"{name}: expected bool {wanted}, got {region.dtype} {list(region.shape)}")
