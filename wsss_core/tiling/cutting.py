"""The pixels and labels of a window, at the size that a network takes."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_core.tiling.windows import Shape

PADDING_COLOUR = (124, 116, 104)
"""The colour of padding, RGB: the mean of ImageNet, which normalisation turns into about 0."""

ReadRows = Callable[[int, int], NDArray[np.uint8]]
"""Returns rows `first` to `stop` of a picture, uint8 [stop - first, width, 3]."""


def cut_view(
    picture: NDArray[np.uint8] | ReadRows, shape: Shape, box: Sequence[int], size: int
) -> NDArray[np.uint8]:
    """Return a window as a network sees it: resized, with padding beyond the picture.

    The filter is bilinear; where the window shrinks, it widens with the factor. The picture's part
    of the window is resized by itself, so that no colour of the padding flows into it.

    Args:
        picture: its pixels, uint8 [H, W, 3], or what reads some of its rows.
        shape: (H, W) of the picture.
        box: top, left, height and width of the window.
        size: the side of the result in pixels.

    Returns:
        uint8 [size, size, 3].

    """
    top, left, height, width = map(int, box)
    rows = max(0, top), min(shape[0], top + height)
    columns = slice(max(0, left), min(shape[1], left + width))
    read = picture if callable(picture) else lambda first, stop: picture[first:stop]
    part = Image.fromarray(np.ascontiguousarray(read(*rows)[:, columns]))
    above, below = _placed(rows[0] - top, rows[1] - top, height, size)
    before, behind = _placed(columns.start - left, columns.stop - left, width, size)
    resized = np.asarray(part.resize((behind - before, below - above), Image.Resampling.BILINEAR))
    if resized.shape == (size, size, 3):
        return resized
    view = np.empty((size, size, 3), np.uint8)
    view[...] = PADDING_COLOUR
    view[above:below, before:behind] = resized
    return view


def cut_views(
    picture: NDArray[np.uint8] | ReadRows,
    shape: Shape,
    boxes: Iterable[Sequence[int]],
    size: int,
    at_once: int = 32,
) -> Iterator[NDArray[np.uint8]]:
    """Yield windows of a picture in batches, uint8 [n, size, size, 3], see `cut_view`."""
    batch: list[NDArray[np.uint8]] = []
    for box in boxes:
        batch.append(cut_view(picture, shape, box, size))
        if len(batch) == at_once:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def cut_labels(
    labels: NDArray[np.uint8], box: Sequence[int], size: int, ignored: int = 255
) -> NDArray[np.uint8]:
    """Return a window of a label map; each pixel takes the one at its centre's place.

    Args:
        labels: uint8 [H, W].
        box: top, left, height and width of the window.
        size: the side of the result in pixels.
        ignored: the label of padding, which counts for nothing.

    Returns:
        uint8 [size, size].

    >>> cut_labels(np.array([[1, 2]], np.uint8), (0, 0, 2, 2), 2).tolist()
    [[1, 2], [255, 255]]
    """
    top, left, height, width = map(int, box)
    rows = top + nearest_places(height, size)
    columns = left + nearest_places(width, size)
    found = np.full((size, size), ignored, np.uint8)
    down = (rows >= 0) & (rows < labels.shape[0])
    across = (columns >= 0) & (columns < labels.shape[1])
    found[np.ix_(down, across)] = labels[np.ix_(rows[down], columns[across])]
    return found


def nearest_places(before: int, after: int) -> NDArray[np.intp]:
    """Return which of `before` pixels in a row each of `after` pixels takes, by their centres.

    >>> nearest_places(2, 4).tolist(), nearest_places(4, 2).tolist()
    ([0, 0, 1, 1], [1, 3])
    """
    return ((np.arange(after) + 0.5) * before / after).astype(np.intp)


def _placed(first: int, stop: int, side: int, size: int) -> tuple[int, int]:
    """Return where a part of a window lies in the result; it has a pixel at least."""
    if (first, stop) == (0, side):
        return 0, size
    begin, end = ((2 * at * size + side) // (2 * side) for at in (first, stop))  # halves upwards
    begin = min(size - 1, begin)
    return begin, max(begin + 1, end)
