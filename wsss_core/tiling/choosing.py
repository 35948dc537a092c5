"""Which tiles of a picture a training takes, and with which labels.

Where pixels have labels, the share of each class among the known pixels of a tile decides (ignored
pixels and padding are not known):

- labelled: a class covers at least `least_share` of them, and at least one pixel;
- clear: every known pixel is background;
- unknown: an object is there but smaller, or no pixel is known. Such a tile is left out.

With `keep`, the labelled tiles with the most object are taken; clear ones only of a picture without
labelled tiles, evenly spread. Without it all labelled and all clear tiles are. With size 512,
stride 64, least_share 0.005 and keep 3 the labelled tiles are the crops of the thesis (arXiv
2507.21959), which in addition cuts off the top and the left of its frames.

Where a picture as a whole is labelled, a tile of a picture without any class is clear. Whether a
tile of another picture shows its classes is unknown: such tiles inherit the picture's labels, as
random crops do in the training of classifiers, and `keep` takes them evenly spread.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wsss_core.tiling.settings import TileSettings
from wsss_core.tiling.windows import Boxes


class TileKind(StrEnum):
    """What the pixels of a tile say of its labels."""

    LABELLED = "labelled"
    CLEAR = "clear"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ChosenTile:
    """A tile with what its pixels say.

    Attributes:
        place: which of the picture's windows it is.
        kind: see the module.
        classes: the indices of the classes that it is labelled with.
        area: its pixels of any class.

    """

    place: int
    kind: TileKind
    classes: tuple[int, ...] = ()
    area: int = 0


def choose_tiles(
    labels: NDArray[np.uint8],
    boxes: Boxes,
    settings: TileSettings,
    classes: int,
    ignored: int = 255,
) -> list[ChosenTile]:
    """Return the tiles of a picture that a training takes, by the labels of its pixels.

    Args:
        labels: uint8 [H, W], 0 background, k + 1 class k.
        boxes: int32 [n, 4], its windows.
        settings: `keep` and `least_share`.
        classes: K.
        ignored: the label of pixels that are not known.

    Returns:
        In the order of the boxes; with `keep` those with the most object first.

    """
    tiles = judge_tiles(labels, boxes, settings.least_share, classes, ignored)
    labelled = [tile for tile in tiles if tile.kind is TileKind.LABELLED]
    clear = [tile for tile in tiles if tile.kind is TileKind.CLEAR]
    if settings.keep is None:
        return sorted(labelled + clear, key=lambda tile: tile.place)
    if labelled:
        return sorted(labelled, key=lambda tile: -tile.area)[: settings.keep]
    return [clear[place] for place in evenly_spread(len(clear), settings.keep)]


def judge_tiles(
    labels: NDArray[np.uint8], boxes: Boxes, least_share: float, classes: int, ignored: int = 255
) -> list[ChosenTile]:
    """Return every tile of a picture with what its pixels say; see `choose_tiles`."""
    known = count_inside(labels != ignored, boxes)
    areas = np.stack(
        [count_inside(labels == number + 1, boxes) for number in range(classes)], axis=1
    )
    found = []
    for place, (pixels, area) in enumerate(zip(known.tolist(), areas.tolist(), strict=True)):
        held = tuple(number for number, n in enumerate(area) if n and n >= least_share * pixels)
        kind = TileKind.UNKNOWN
        if held:
            kind = TileKind.LABELLED
        elif pixels and not sum(area):
            kind = TileKind.CLEAR
        found.append(ChosenTile(place, kind, held, sum(area)))
    return found


def evenly_spread(count: int, most: int | None) -> list[int]:
    """Return at most so many of `count` places, evenly spread over them.

    >>> evenly_spread(10, 3), evenly_spread(2, 3), evenly_spread(3, None)
    ([0, 4, 9], [0, 1], [0, 1, 2])
    """
    if most is None or count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return [place * (count - 1) // (most - 1) for place in range(most)]


def count_inside(where: NDArray[np.bool_], boxes: Boxes) -> NDArray[np.int64]:
    """Return how many pixels of each box are true, by an integral image.

    Args:
        where: bool [H, W].
        boxes: int32 [n, 4], top, left, height and width.

    >>> count_inside(np.eye(3, dtype=bool), np.array([(0, 0, 2, 3), (-1, 2, 2, 2)], np.int32))
    array([2, 0])
    """
    height, width = where.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(where.cumsum(axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    top, left, tall, wide = boxes.T.astype(np.int64)
    first, stop = np.clip([top, top + tall], 0, height)
    begin, end = np.clip([left, left + wide], 0, width)
    return np.asarray(sums[stop, end] - sums[first, end] - sums[stop, begin] + sums[first, begin])
