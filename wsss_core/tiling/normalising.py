"""Scores of windows brought to 0 to 1 together: a window without the object must not peak at 1."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsss_core.evaluate import Normalisation, normalise
from wsss_core.tiling.windows import PictureWindows, Shape, inside_cells


def with_edges(maps: NDArray[np.generic], box: Sequence[int], shape: Shape) -> NDArray[np.generic]:
    """Return a window's maps [..., h, w] in which padding repeats the nearest cell of the picture.

    So no value of the padding flows into the picture where maps are interpolated.
    """
    grid = (maps.shape[-2], maps.shape[-1])
    rows, columns = inside_cells(box, shape, grid)
    if (rows, columns) == (slice(0, grid[0]), slice(0, grid[1])):
        return maps
    down = np.clip(np.arange(grid[0]), rows.start, rows.stop - 1)
    across = np.clip(np.arange(grid[1]), columns.start, columns.stop - 1)
    return maps[..., down[:, np.newaxis], across]


def normalise_windows(
    maps: NDArray[np.floating], windows: PictureWindows, how: Normalisation
) -> NDArray[np.float32]:
    """Bring the maps of each picture to [0, 1], all of its windows together.

    Cells whose centre lies in the padding count for nothing; they repeat the nearest one of the
    picture.

    Args:
        maps: real [T, K, h, w], finite, comparable between the windows of a picture.
        windows: the T windows.
        how: see `wsss_core.evaluate.normalise`.

    Returns:
        float32 [T, K, h, w].

    """
    found = np.empty(maps.shape, np.float32)
    grid = (maps.shape[-2], maps.shape[-1])
    for picture in windows.pictures:
        part, shape = windows.part(picture), windows.shape(picture)
        cells = [inside_cells(box, shape, grid) for box in windows.boxes[part]]
        inside = [
            one[:, rows, columns] for one, (rows, columns) in zip(maps[part], cells, strict=True)
        ]
        flat = np.concatenate([one.reshape(len(one), -1) for one in inside], axis=1)
        scores = normalise(flat[:, np.newaxis], how)[:, 0]
        done = 0
        for number, (one, (rows, columns)) in enumerate(zip(inside, cells, strict=True)):
            count = one[0].size
            placed = found[part.start + number]
            placed[:, rows, columns] = scores[:, done : done + count].reshape(one.shape)
            placed[...] = with_edges(placed, windows.boxes[part.start + number], shape)
            done += count
    return found
