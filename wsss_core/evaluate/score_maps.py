"""From raw activation maps to 256 levels at the mask's own resolution.

A raw map keeps its absolute scale and the network's grid. It loses the first by a named choice
(`normalise`), the second when it meets its mask (`resize`), and its precision last (`quantise`),
because only whole levels can be counted exactly.

Several classes compete at a pixel (`compete`): the highest score wins, the others have none there.
With losers set to 0, the one-vs-rest histogram of each class gives at every level t >= 2 exactly
the IoU of the usual prediction: the class of the highest score where that reaches t, else
background. Level 1 is the prediction without any background, the class of the highest score
everywhere, as at threshold 0: a pixel where all scores are 0 has its class there too. Level 0
stands for "nothing competes" and is no threshold.
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.errors import InputError

Normalisation = Literal["min_max", "max", "sigmoid"]
Maps = NDArray[np.float32]

_ROUNDING = 1e-5  # how far beyond [0, 1] float32 arithmetic on values within it may end
_STEPS_OF_FLOAT16, _EPSILONS_OF_FLOAT32 = 4, 64  # what a flat map may span
_SMALLEST_EXPONENT = -24  # of float16's steps
_EPSILON = np.finfo(np.float32).eps
_TILE = 1 << 18  # output values interpolated at a time: 1 MiB, which a core's cache holds


def normalise(scores: ArrayLike, how: Normalisation) -> Maps:
    """Bring each map to [0, 1], on its own.

    - `min_max`: (x - min) / (max - min), the thesis's choice (arXiv 2507.21959). The scale is lost:
      a map of an image without the class peaks at 1 too. A flat map has no contrast and becomes 0.
    - `max`: max(x, 0) / max(x), the choice of PSA (Ahn and Kwak, 2018, arXiv 1803.10464). A map
      without a positive score becomes 0, a flat map with one becomes 1.
    - `sigmoid`: 1 / (1 + exp(-x)), which alone keeps maps of different images comparable.

    A map is flat if it is constant but for rounding: it spans at most 4 steps of float16 (five
    neighbouring values) where that is its type, else 64 epsilons of float32.

    Args:
        scores: real [..., H, W], finite; any float type (computed in float32) or integers. Give
            float16 maps as they are: their type says how coarsely they were rounded.
        how: The name of the choice.

    Returns:
        float32 [..., H, W] in [0, 1].

    Raises:
        InputError: For another name, fewer than two axes, a map without a pixel or a value that is
            not finite.

    """
    if how not in get_args(Normalisation):
        raise InputError(
            f"normalisation {how!r}: expected one of {', '.join(get_args(Normalisation))}"
        )
    maps = _as_maps(scores)
    lowest = maps.min(axis=(-2, -1), keepdims=True)
    highest = maps.max(axis=(-2, -1), keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(highest - lowest).all():  # catches a single NaN or infinity as well
            raise InputError(
                "scores: expected finite float32 values, got NaN, infinity or overflow"
            )
    if how == "sigmoid":
        # exp of the negative magnitude cannot overflow; the other half follows by symmetry.
        decay = np.exp(-np.abs(maps))
        return np.where(maps >= 0, np.float32(1), decay) / (1 + decay)
    flat = _flat(lowest, highest, np.asarray(scores).dtype)
    if how == "min_max":
        shifted, span = maps - lowest, highest - lowest
        return np.divide(shifted, span, out=np.zeros_like(maps), where=~flat)
    shifted, span = np.maximum(np.where(flat, highest, maps), 0), np.maximum(highest, 0)
    return np.divide(shifted, span, out=np.zeros_like(maps), where=span > 0)


def _flat(lowest: Maps, highest: Maps, kept_as: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return which maps are constant but for the rounding of the type that they were kept as."""
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    if kept_as == np.float16:
        _, exponent = np.frexp(largest)
        # The step between neighbours at the largest value: ten binary digits follow the first.
        steps = np.ldexp(np.float32(1), np.maximum(exponent - 11, _SMALLEST_EXPONENT))
        return np.asarray(highest - lowest <= _STEPS_OF_FLOAT16 * steps)
    return np.asarray(highest - lowest <= _EPSILONS_OF_FLOAT32 * _EPSILON * largest)


def as_array(given: Any) -> NDArray[Any]:
    """Return an array, also of a tensor that lies on a GPU or keeps gradients."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    return np.asarray(given)


def quantise(scores: ArrayLike) -> NDArray[np.uint8]:
    """Round maps in [0, 1] to 256 levels: round(255 * score), halves to even.

    Args:
        scores: real [...], in [0, 1] up to the rounding of float32.

    Returns:
        uint8 [...], 0-255.

    Raises:
        InputError: If a value lies outside [0, 1] or is NaN.

    """
    values = np.asarray(scores)
    if values.dtype.kind not in "fiub":
        raise InputError(f"scores: expected real numbers, got {values.dtype}")
    values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    if values.size:
        lowest, highest = values.min(), values.max()
        if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):  # NaN fails too
            raise InputError(
                f"scores: expected values in [0, 1], got {lowest:.6g} to {highest:.6g}"
            )
    levels = np.asarray(values * values.dtype.type(255))
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    return levels.astype(np.uint8)


def resize(maps: ArrayLike, size: tuple[int, int]) -> Maps:
    """Resize maps bilinearly, as `torch.nn.functional.interpolate` with align_corners=False.

    Pixels are squares: output pixel i looks at (i + 0.5) * h / H - 0.5, clamped to the first and
    last pixel's centre. As in torch, shrinking takes two taps an axis and does not smooth.

    One axis after the other: gather the taps, then value + slope * weight. Gathering rows is a
    memory copy, gathering columns costs about three times as much a value, and the order of the
    axes minimises the sum. On one core 32x32 -> 512x512 takes 0.12 ms a map (torch 0.36 ms),
    512x512 -> 224x224 0.14 ms (torch 0.08 ms).

    Args:
        maps: real [..., h, w].
        size: (H, W), the size wanted.

    Returns:
        float32 [..., H, W], a new array.

    Raises:
        InputError: If maps has fewer than two axes or no pixel, or the size is not two positive
            integers.

    """
    source = _as_maps(maps)
    if len(size) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
        raise InputError(f"size: expected two positive integers (H, W), got {size}")
    height, width = int(size[0]), int(size[1])
    *leading, h, w = source.shape
    stack = source.reshape(-1, h, w)
    resized = np.empty((len(stack), height, width), dtype=np.float32)
    rows_first = height * w + 2 * height * width < 3 * h * width
    at_once = max(1, _TILE // (height * width))
    for start in range(0, len(stack), at_once):
        tile = slice(start, start + at_once)
        if rows_first:
            _interpolate(_interpolate(stack[tile], 1, height), 2, width, out=resized[tile])
        else:
            _interpolate(_interpolate(stack[tile], 2, width), 1, height, out=resized[tile])
    return resized.reshape(*leading, height, width)


def _interpolate(maps: Maps, axis: int, length: int, out: Maps | None = None) -> Maps:
    """Interpolate [n, h, w] along axis 1 or 2 to the length, into `out` if given."""
    before = maps.shape[axis]
    if out is None:
        shape = list(maps.shape)
        shape[axis] = length
        out = np.empty(shape, dtype=np.float32)
    if before == length:
        out[...] = maps
        return out
    first, weight = _taps(before, length)
    # mode="clip" lets take write to `out` unbuffered. Subtract where there is less to subtract.
    np.take(maps, first, axis=axis, out=out, mode="clip")
    if length < before:
        change = np.take(maps, np.minimum(first + 1, before - 1), axis=axis)
        change -= out
    else:
        slope = np.diff(maps, axis=axis, append=np.take(maps, [-1], axis=axis))
        change = np.take(slope, first, axis=axis)
    change *= weight[:, np.newaxis] if axis == 1 else weight
    out += change
    return out


@lru_cache(maxsize=256)
def _taps(before: int, after: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return each output pixel's first tap, intp [after], and the second's weight, float32 [after].

    In float32, as in torch: on long axes its coordinates are off by some 1e-5, and so are these.
    """
    scale = np.float32(before / after)
    centre = scale * (np.arange(after, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    centre = np.maximum(centre, np.float32(0))
    first = np.minimum(centre.astype(np.intp), before - 1)
    weight = centre - first.astype(np.float32)
    first.flags.writeable = weight.flags.writeable = False
    return first, weight


def _as_maps(values: ArrayLike) -> Maps:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"maps: expected real numbers, got {array.dtype}")
    if array.ndim < 2 or 0 in array.shape[-2:]:
        raise InputError(
            f"maps: expected [..., H, W] with at least one pixel, got the shape {list(array.shape)}"
        )
    return array.astype(np.float32, copy=False)


def compete(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep each pixel's level for the class with the highest, 0 for the others.

    Args:
        levels: uint8 [K, h, w]. Of equal levels the first class wins.

    Returns:
        uint8 [K, h, w]; a winner has at least 1, so that every pixel has a class at level 1.

    Raises:
        InputError: levels of another type or shape, or of no class.

    Example:
        >>> compete(np.array([[[9, 0, 4]], [[3, 0, 7]]], dtype=np.uint8)).tolist()
        [[[9, 1, 0]], [[0, 0, 7]]]

    """
    if levels.dtype != np.uint8 or levels.ndim != 3 or not len(levels):
        raise InputError(
            "levels: expected uint8 [K, h, w] of at least one class, "
            f"got {levels.dtype} {list(levels.shape)}"
        )
    winner = levels.argmax(axis=0)
    wins = np.arange(len(levels))[:, np.newaxis, np.newaxis] == winner
    return np.where(wins, np.maximum(levels, 1), 0).astype(np.uint8)
