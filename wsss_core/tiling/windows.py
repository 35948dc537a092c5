"""Square windows over pictures: where they lie, and which of their cells show the picture.

A window is a box (top, left, height, width) in pixels of its picture. A box may reach beyond the
picture; what lies there is padding. Windows of one picture form a grid: every row of windows has
the same columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsss_core.tiling.settings import Framing

Boxes = NDArray[np.int32]
Shape = tuple[int, int]


def axis_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where windows begin along an axis, ascending.

    They lie `stride` apart, but the last ends with the axis. An axis shorter than a window has one
    window, with the axis in its middle.

    >>> axis_starts(10, 4, 3), axis_starts(11, 4, 3), axis_starts(3, 4, 3), axis_starts(1, 4, 3)
    ([0, 3, 6], [0, 3, 6, 7], [0], [-1])
    """
    if length <= size:
        return [-((size - length) // 2)]
    return [*range(0, length - size, stride), length - size]


def tile_boxes(shape: Shape, size: int, stride: int) -> Boxes:
    """Return the windows over a picture, row by row, that together show each of its pixels.

    Args:
        shape: (height, width) of the picture.
        size: the side of a window.
        stride: the most pixels from one to the next, at most the size.

    Returns:
        int32 [n, 4], n >= 1.

    """
    tops, lefts = (axis_starts(length, size, stride) for length in shape)
    boxes = [(top, left, size, size) for top in tops for left in lefts]
    return np.array(boxes, np.int32)


def framed_boxes(shape: Shape, framing: Framing) -> Boxes:
    """Return the windows over a picture by its framing, int32 [n, 4].

    That of a squashed picture is the picture itself; that of a padded one is the smallest square
    around it.
    """
    if framing.aspect == "tiles":
        return tile_boxes(shape, *framing.tile)
    if framing.aspect == "pad":
        side = max(shape)
        return tile_boxes(shape, side, side)
    return np.array([(0, 0, *shape)], np.int32)


def inside_cells(box: Sequence[int], shape: Shape, grid: Shape) -> tuple[slice, slice]:
    """Return which rows and columns of a window's map have their centre in the picture.

    A picture that is thinner than a cell has the one that is nearest to it.

    Args:
        box: the window.
        shape: (height, width) of the picture.
        grid: (h, w) of the map.

    """
    top, left, height, width = map(int, box)
    rows = _inside(top, height, shape[0], grid[0])
    columns = _inside(left, width, shape[1], grid[1])
    return rows, columns


def _inside(start: int, side: int, length: int, cells: int) -> slice:
    per_cell = side / cells
    first = max(0, math.ceil(-start / per_cell - 0.5))
    stop = min(cells, math.ceil((length - start) / per_cell - 0.5))
    if first < stop:
        return slice(first, stop)
    middle = min(cells - 1, max(0, int((length / 2 - start) / per_cell)))
    return slice(middle, middle + 1)


@dataclass(frozen=True, eq=False)
class PictureWindows:
    """T windows over P pictures.

    Attributes:
        picture: int32 [T], ascending, the picture that each window shows.
        boxes: int32 [T, 4], top, left, height and width, row by row within a picture.
        shapes: int32 [P, 2], height and width of each picture.

    Raises:
        ValueError: arrays that do not fit together.

    """

    picture: NDArray[np.int32]
    boxes: Boxes
    shapes: NDArray[np.int32]

    def __post_init__(self) -> None:
        fits = self.boxes.shape == (len(self.picture), 4) and self.shapes.shape[1:] == (2,)
        if not fits or (np.diff(self.picture) < 0).any():
            raise ValueError(
                f"windows of pictures {self.picture.shape}, boxes {self.boxes.shape} and shapes "
                f"{self.shapes.shape}: expected ascending [T], [T, 4] and [P, 2]"
            )

    @classmethod
    def of(cls, shapes: Sequence[Shape], boxes: Sequence[Boxes]) -> Self:
        """Return windows over pictures of these (height, width), with the boxes of each."""
        counts = [len(one) for one in boxes]
        return cls(
            np.repeat(np.arange(len(shapes), dtype=np.int32), counts),
            np.concatenate([np.zeros((0, 4), np.int32), *boxes]).astype(np.int32),
            np.asarray(shapes, np.int32).reshape(len(shapes), 2),
        )

    def __len__(self) -> int:
        return len(self.picture)

    def shape(self, picture: int) -> Shape:
        """Return the (height, width) of a picture."""
        height, width = self.shapes[picture]
        return int(height), int(width)

    def part(self, picture: int) -> slice:
        """Return which windows show a picture."""
        first, stop = np.searchsorted(self.picture, [picture, picture + 1])
        return slice(int(first), int(stop))

    @property
    def pictures(self) -> list[int]:
        """The pictures that have windows, ascending."""
        return [int(number) for number in np.unique(self.picture)]

    @property
    def whole(self) -> bool:
        """Whether each window shows a picture of its own, all of it and nothing else."""
        alone = len(self.picture) == len(np.unique(self.picture))
        shapes = self.shapes[self.picture]
        return bool(alone and (self.boxes == np.pad(shapes, ((0, 0), (2, 0)))).all())

    def padding(self, window: int, size: int) -> NDArray[np.bool_]:
        """Return which pixels of a window of `size` px have their centre in the padding."""
        found = np.ones((size, size), np.bool_)
        shape = self.shape(int(self.picture[window]))
        found[inside_cells(self.boxes[window].tolist(), shape, (size, size))] = False
        return found

    def highest(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the largest value among the windows of each picture, [P, K] of [T, K].

        A picture without windows has minus infinity.
        """
        found = np.full((len(self.shapes), *values.shape[1:]), -np.inf, values.dtype)
        np.maximum.at(found, self.picture, values)
        return found

    def save(self, folder: Path) -> None:
        """Write `windows_<part>.npy` for each part."""
        for part in ("picture", "boxes", "shapes"):
            np.save(folder / f"windows_{part}.npy", getattr(self, part), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return cls(
            *(
                np.load(folder / f"windows_{part}.npy", allow_pickle=False)
                for part in ("picture", "boxes", "shapes")
            )
        )
