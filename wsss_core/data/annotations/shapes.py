"""The shape of a part in COCO's two spellings: run lengths and polygons.

Run lengths are exact. A polygon runs along the edges of pixels, where pycocotools fills it with
exactly the part's pixels; corners near a straight line are left out then, so that people have few
points to move, as long as the filled polygon keeps `LEAST_IOU` with the part.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_core.data.annotations.parts import MaskPart
from wsss_core.data.annotations.rings import rings_of, simplified, with_holes
from wsss_core.data.formats import mask_tool

LEAST_IOU = 0.95
"""The least IoU of a part and of its polygon as pycocotools fills it."""

_TOLERANCES = (1.2, 0.8, 0.4, 0.0)  # pixels; a staircase of single pixels lies within 0.8


def coco_runs(part: MaskPart, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the run lengths of a part, down the columns of its image, in COCO's short text.

    Args:
        part: the part.
        shape: (H, W) of the image.

    Returns:
        COCO's `size` (height, width) and `counts`.

    Raises:
        InputError: pycocotools is not installed.

    """
    height, width = shape
    columns = np.pad(part.pixels.T, ((0, 0), (1, 1))).astype(np.int8)
    changes = np.diff(columns, axis=1)
    begins, ends = (_places(changes == sign, part, height) for sign in (1, -1))
    # A run that ends at the foot of a column may go on at the head of the next.
    begins, ends = (
        begins[np.concatenate([[True], begins[1:] != ends[:-1]])],
        ends[np.concatenate([begins[1:] != ends[:-1], [True]])],
    )
    edges = np.stack([begins, ends], 1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    lengths = counts[:-1] if counts[-1] == 0 else counts
    runs = {"size": [height, width], "counts": lengths.tolist()}
    text = mask_tool().frPyObjects(runs, height, width)["counts"]
    return {"size": [height, width], "counts": text.decode("ascii")}


def _places(marked: NDArray[np.bool_], part: MaskPart, height: int) -> NDArray[np.int64]:
    column, row = np.nonzero(marked)
    return (part.left + column) * height + part.top + row


def coco_polygon(part: MaskPart) -> list[float]:
    """Return the outline of a part as x, y, x, y, ... in pixels; cuts of no width free its holes.

    Raises:
        InputError: pycocotools is not installed.

    """
    rings = rings_of(part.pixels)
    exact = mask_tool().encode(np.asfortranarray(part.pixels, np.uint8))
    for tolerance in _TOLERANCES:
        outer, *holes = [simplified(ring, tolerance) for ring in rings]
        points = with_holes(outer, holes)
        filled = mask_tool().frPyObjects([points.ravel().tolist()], *part.pixels.shape)
        if tolerance == 0 or mask_tool().iou(filled, [exact], [0])[0, 0] >= LEAST_IOU:
            break
    placed: list[float] = (points + np.array([part.left, part.top])).ravel().tolist()
    return placed
