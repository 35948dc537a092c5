"""A score map over its picture, to look at: colours, and the outline of a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.errors import InputError, quoted
from wsss_core.evaluate.score_maps import as_array, quantise, resize

_HEAT = np.array(
    [[24, 15, 94], [115, 32, 146], [194, 62, 104], [242, 130, 52], [253, 213, 78], [255, 255, 214]],
    np.float32,
)
"""RGB at scores 0, 0.2, ..., 1: of rising lightness, so that it can be read in grey too."""


def overlay(
    image: ArrayLike,
    scores: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    opacity: float = 0.6,
    outline: Sequence[int] = (255, 255, 255),
    width: int | None = None,
) -> NDArray[np.uint8]:
    """Lay a score map over its picture in colours from dark blue (0) to light yellow (1).

    Args:
        image: RGB [H, W, 3], uint8, or floats in 0..1.
        scores: [h, w] in 0..1, or uint8 levels; stretched bilinearly where of another size.
        mask: bool or 0 and 1, [H, W], outlined; pixels of 255 are taken for outside. None: none.
        opacity: of the colours, 0 to 1; where the score is 0, half of it.
        outline: RGB of the outline, 0-255 each.
        width: of the outline in pixels, within the mask; None: 1 px for each 200 of the image.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: other shapes, types or values.

    Example:
        >>> image = np.zeros((4, 4, 3), np.uint8)
        >>> overlay(image, np.zeros((2, 2)), opacity=0).max()
        np.uint8(0)
        >>> overlay(image, np.ones((2, 2)), opacity=1)[0, 0].tolist()
        [255, 255, 214]

    """
    picture = read_picture(image).astype(np.float32)
    heights = _read_scores(scores, (picture.shape[0], picture.shape[1]))
    if not isinstance(opacity, int | float | np.number) or not 0 <= opacity <= 1:
        raise InputError(f"opacity: expected 0 to 1, got {quoted(opacity)}")
    at = heights * (len(_HEAT) - 1)
    low = np.minimum(at.astype(np.intp), len(_HEAT) - 2)
    part = (at - low)[..., np.newaxis]
    colours = _HEAT[low] * (1 - part) + _HEAT[low + 1] * part
    share = (opacity * (0.5 + heights / 2))[..., np.newaxis]
    drawn = np.rint(picture * (1 - share) + colours * share).astype(np.uint8)
    if mask is not None:
        drawn[_outline(_read_region(mask, heights.shape), width)] = _read_colour(outline)
    return drawn


def read_picture(image: Any) -> NDArray[np.uint8]:
    """Return a picture as uint8 [H, W, 3].

    Raises:
        InputError: another shape or type, or floats outside 0..1; the message says what was
            expected.

    """
    picture = as_array(image)
    expected = "image: expected RGB [H, W, 3], uint8 or floats in 0..1"
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        first = picture.ndim == 3 and picture.shape[0] == 3
        hint = "; move the channels last by image.transpose(1, 2, 0)" if first else ""
        raise InputError(f"{expected}, got the shape {list(picture.shape)}{hint}")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind != "f":
        raise InputError(f"{expected}, got {picture.dtype}")
    lowest, highest = float(picture.min()), float(picture.max())
    if not (lowest >= 0 and highest <= 1):  # NaN fails too
        raise InputError(
            f"{expected}, got floats from {lowest:.4g} to {highest:.4g}; give levels of 0..255 as "
            "uint8"
        )
    return np.rint(picture * 255).astype(np.uint8)


def _read_scores(scores: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return scores float32 [H, W] in 0..1 at the picture's size."""
    found = as_array(scores)
    if found.ndim != 2 or 0 in found.shape:
        raise InputError(
            f"scores: expected one map [h, w], got the shape {list(found.shape)}"
            + ("; choose a class, such as scores[0]" if found.ndim == 3 and len(found) else "")
        )
    levels = found if found.dtype == np.uint8 else quantise(found)
    if levels.shape == size:
        return levels.astype(np.float32) / np.float32(255)
    # Stretched before they are rounded, or 256 levels would show as bands.
    source = levels.astype(np.float32) / np.float32(255) if found.dtype == np.uint8 else found
    return np.clip(resize(source, size), 0, 1)


def _read_region(mask: Any, size: tuple[int, ...]) -> NDArray[np.bool_]:
    region = as_array(mask)
    if region.shape != size:
        raise InputError(f"mask: expected the image's size {list(size)}, got {list(region.shape)}")
    if region.dtype == np.bool_:
        return region
    held = {int(value) for value in np.unique(region)} if region.dtype.kind in "iu" else {-1}
    if not held <= {0, 1, 255} or (255 in held and 1 not in held):
        raise InputError(
            "mask: expected bool, or 1 for the class, 0 for the rest and 255 for ignored pixels; "
            "compare it with the class's number first, such as mask == 255"
        )
    return region == 1


def _outline(region: NDArray[np.bool_], width: int | None) -> NDArray[np.bool_]:
    """Return the region's pixels within `width` of its border; the image's edge is no border."""
    if width is None:
        width = max(1, round(max(region.shape) / 200))
    if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
        raise InputError(f"width: expected 1 pixel or more, got {width!r}")
    inner = region
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inner


def _read_colour(colour: Sequence[int]) -> NDArray[np.uint8]:
    values = np.asarray(colour)
    levels = values.shape == (3,) and values.dtype.kind in "iu"
    if not levels or values.min() < 0 or values.max() > 255:
        raise InputError(f"outline: expected three levels 0-255, got {colour!r}")
    return values.astype(np.uint8)
