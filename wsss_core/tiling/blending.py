"""Maps of overlapping windows blended into one map of the picture, a band of rows at a time.

The weight of a window's pixel falls linearly from the window's middle to its border, along both
axes, and the weights at each pixel of the picture sum to 1: the blended value is a mean, a constant
stays a constant, and where one window alone shows a pixel its value is taken as it is.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.evaluate import resize
from wsss_core.tiling.normalising import with_edges
from wsss_core.tiling.windows import Boxes, PictureWindows, Shape

Band = tuple[int, NDArray[np.float32]]
"""The first row, and values float32 [C, rows, W] from there on."""


def axis_weights(starts: list[int], size: int, length: int) -> list[NDArray[np.float32]]:
    """Return the weights of windows along an axis, float32 [pixels of the axis in the window].

    Args:
        starts: where each window begins.
        size: of a window.
        length: of the axis.

    >>> [weights.tolist() for weights in axis_weights([0, 2], 4, 6)]
    [[1.0, 1.0, 0.75, 0.25], [0.25, 0.75, 1.0, 1.0]]
    """
    offsets = np.arange(size) + 0.5
    raw = np.minimum(offsets, size - offsets)
    total = np.zeros(length)
    for start in starts:
        total[max(0, start) : start + size] += raw[max(0, -start) : length - start]
    return [
        (raw[max(0, -start) : length - start] / total[max(0, start) : start + size]).astype(
            np.float32
        )
        for start in starts
    ]


class BandBlender:
    """Blends the maps of a picture's windows, of which it holds one row of windows at a time.

    Args:
        boxes: int32 [T, 4], the windows of one picture as `tile_boxes` gives them.
        shape: (H, W) of the picture.

    Raises:
        ValueError: boxes that are no grid of windows.

    """

    def __init__(self, boxes: Boxes, shape: Shape) -> None:
        tops, lefts = (sorted(set(boxes[:, axis].tolist())) for axis in (0, 1))
        height, width = (int(side) for side in boxes[0, 2:])
        grid = [(top, left, height, width) for top in tops for left in lefts]
        if boxes.tolist() != [list(box) for box in grid]:
            raise ValueError("boxes are no grid of windows of one size, row by row")
        self._boxes, self._shape, self._tops = grid, shape, tops
        self._down = dict(zip(tops, axis_weights(tops, height, shape[0]), strict=True))
        self._across = dict(zip(lefts, axis_weights(lefts, width, shape[1]), strict=True))
        self._next, self._base = 0, 0
        self._sums: NDArray[np.float32] | None = None

    def add(self, maps: ArrayLike) -> Iterator[Band]:
        """Add the maps of the next windows, and yield the bands of rows that they complete.

        Args:
            maps: real [t, C, h, w], at any grid.

        """
        for window in np.asarray(maps):
            box = self._boxes[self._next]
            top, left, height, width = box
            if top > self._base:
                yield self._band(top)
            if self._sums is None:
                rows = min(self._shape[0], height)
                self._sums = np.zeros((len(window), rows, self._shape[1]), np.float32)
            values = resize(with_edges(window, box, self._shape), (height, width))
            inside = values[
                :,
                max(0, -top) : self._shape[0] - top,
                max(0, -left) : self._shape[1] - left,
            ]
            first = max(0, top) - self._base
            columns = slice(max(0, left), left + width)
            inside *= self._down[top][:, np.newaxis]
            inside *= self._across[left]
            self._sums[:, first : first + inside.shape[1], columns] += inside
            self._next += 1
        if self._next == len(self._boxes) and self._base < self._shape[0]:
            yield self._band(self._shape[0])

    def _band(self, stop: int) -> Band:
        """Return the rows before `stop`, and forget them."""
        assert self._sums is not None
        base, done = self._base, stop - self._base
        band = self._sums[:, :done].copy()
        self._sums[:, :-done] = self._sums[:, done:]
        self._sums[:, -done:] = 0
        self._base = stop
        return base, band


def blend_windows(maps: ArrayLike, boxes: Boxes, shape: Shape) -> NDArray[np.float32]:
    """Return the maps of a picture's windows blended at the picture's size.

    Args:
        maps: real [T, C, h, w], a map of each window and channel.
        boxes: int32 [T, 4], the windows as `tile_boxes` gives them.
        shape: (H, W) of the picture.

    Returns:
        float32 [C, H, W]. Cells of padding are cut off.

    """
    values = np.asarray(maps)
    if len(boxes) == 1 and tuple(boxes[0]) == (0, 0, *shape):
        return resize(values[0], shape)
    blended = np.empty((values.shape[1], *shape), np.float32)
    for first, band in BandBlender(boxes, shape).add(values):
        blended[:, first : first + band.shape[1]] = band
    return blended


def maps_at(
    maps: NDArray[np.floating], windows: PictureWindows | None, image: int, shape: Shape
) -> NDArray[np.float32]:
    """Return the maps of one image at a resolution, float32 [C, height, width].

    Args:
        maps: real [N, C, h, w], of N images; or of windows over them, which are blended first.
        windows: where the windows lie; None: each map is of an image.
        image: which image.
        shape: (height, width) of the result.

    """
    if windows is None:
        return resize(maps[image], shape)
    part, own = windows.part(image), windows.shape(image)
    blended = blend_windows(maps[part], windows.boxes[part], own)
    return blended if own == shape else resize(blended, shape)
