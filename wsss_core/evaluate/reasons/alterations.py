"""Images with their object, or all but the object, made useless to a classifier.

Images are uint8 and stay so: an altered image has passed the same rounding as a photograph. The
ways are those of Hard ImageNet (Moayeri et al., NeurIPS 2022), RIVAL10 (Moayeri et al., CVPR 2022)
and ImageNet-9 (Xiao et al., ICLR 2021).
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

_Picture = NDArray[np.uint8]
_Mask = NDArray[np.bool_]

MID_GREY = 128
"""The value that covers a region: half of the range."""

_VOID = 255


class Region(StrEnum):
    """What is altered: the object, or all that is neither object nor void."""

    OBJECT = "object"
    CONTEXT = "context"


def object_and_context(codes: NDArray[np.uint8], number: int, size: int) -> tuple[_Mask, _Mask]:
    """Return the pixels of a class and of its surroundings on the network's grid.

    A pixel of the grid is the object if at least half of its area is, and never none at all: of a
    smaller object the pixel with most of it is taken. Void pixels (255) are in neither region, so
    that nothing is altered where nobody knows what is there.

    Args:
        codes: uint8 [h, w], a mask: `number` + 1 where the class is, 255 void.
        number: the class's place, from 0.
        size: the side S of the network's input.

    Returns:
        Two bool [S, S], disjoint. The object is empty only where the mask holds none.

    """
    held, void = _area(codes == number + 1, size), _area(codes == _VOID, size)
    there = held >= 0.5
    if not there.any() and held.max() > 0:
        there = held == held.max()
    return there, ~there & (void < 0.5)


def _area(region: _Mask, size: int) -> NDArray[np.float64]:
    """Return the share of each of size x size equal cells that a region covers."""
    sums = np.zeros((region.shape[0] + 1, region.shape[1] + 1))
    sums[1:, 1:] = region.cumsum(axis=0).cumsum(axis=1)
    for axis, length in enumerate(region.shape):
        edges = np.linspace(0, length, size + 1)
        low = np.minimum(edges.astype(int), length - 1)
        part = (edges - low).reshape((-1, 1) if axis == 0 else (1, -1))
        sums = sums.take(low, axis=axis) * (1 - part) + sums.take(low + 1, axis=axis) * part
        sums = np.diff(sums, axis=axis) * (size / length)
    return sums


def noisy(image: _Picture, region: _Mask, sigma: float, generator: np.random.Generator) -> _Picture:
    """Add normal noise to a region: clip(x + sigma * n * m), x in [0, 1].

    Two regions of one image get the same noise from generators of the same state.

    Args:
        image: uint8 [S, S, 3].
        region: bool [S, S].
        sigma: the standard deviation, as a share of the range of values.
        generator: draws the noise.

    Returns:
        uint8 [S, S, 3], unchanged outside the region.

    Raises:
        InputError: another type or shape, or a sigma that is not above 0.

    """
    _check(image, region)
    if not sigma > 0:
        raise InputError(f"sigma: expected above 0, got {sigma}")
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    return on_background(with_noise(image, sigma, noise), region, image)


def with_noise(image: _Picture, sigma: float, noise: NDArray[np.float32]) -> _Picture:
    """Add noise of standard deviation 1, float32 [S, S, 3], to a whole image, see `noisy`."""
    return np.clip(np.rint(image + 255 * np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def grey(image: _Picture, region: _Mask) -> _Picture:
    """Cover a region by mid-grey; uint8 [S, S, 3]."""
    _check(image, region)
    return np.where(region[..., np.newaxis], np.uint8(MID_GREY), image)


def grey_box(image: _Picture, region: _Mask) -> _Picture:
    """Cover the smallest box around a region by mid-grey, so that its outline is gone too."""
    _check(image, region)
    covered = image.copy()
    if region.any():
        covered[_box(region)] = MID_GREY
    return covered


def tiled_box(image: _Picture, region: _Mask) -> _Picture:
    """Fill the smallest box around a region by repeating the largest rectangle beside it.

    The rectangles are those above and below the box, of the image's width, and those left and right
    of it, of the image's height (the "only background, tiled" images of ImageNet-9). Where the box
    is the whole image, it is filled with mid-grey.

    Returns:
        uint8 [S, S, 3], unchanged outside the box.

    """
    _check(image, region)
    if not region.any():
        return image.copy()
    rows, columns = _box(region)
    beside = (
        image[: rows.start],
        image[rows.stop :],
        image[:, : columns.start],
        image[:, columns.stop :],
    )
    tile = max(beside, key=lambda part: part.size)
    filled = image.copy()
    if not tile.size:
        filled[rows, columns] = MID_GREY
        return filled
    height, width = rows.stop - rows.start, columns.stop - columns.start
    times = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    filled[rows, columns] = np.tile(tile, times)[:height, :width]
    return filled


def on_background(image: _Picture, region: _Mask, background: _Picture) -> _Picture:
    """Put a region of an image, at its own place, on another image of the same size."""
    _check(image, region)
    _check(background, region)
    return np.where(region[..., np.newaxis], image, background)


def _box(region: _Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _check(image: _Picture, region: _Mask) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image: expected uint8 [h, w, 3], got {image.dtype} {list(image.shape)}")
    if region.dtype != np.bool_ or region.shape != image.shape[:2]:
        raise InputError(
            f"region: expected bool {list(image.shape[:2])}, got {region.dtype} "
            f"{list(region.shape)}"
        )
