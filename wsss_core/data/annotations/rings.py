"""The outlines of a part of a mask, as rings along the edges of its pixels.

Coordinates are those of COCO: x to the right and y down, whole numbers at the corners of pixels, so
that the pixel in column x and row y is the square from (x, y) to (x + 1, y + 1). An outer ring runs
clockwise on the screen, the ring of a hole counter-clockwise, so the two common rules of filling
(even-odd and non-zero winding) agree.
"""

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""The corners of a closed outline, float [n, 2] as (x, y); the last is joined to the first."""


def rings_of(part: NDArray[np.bool_]) -> list[Ring]:
    """Return the outlines of a mask: a ring around each part, and one around each hole.

    Pixels that touch at a corner are joined, pixels of the background are not.

    Args:
        part: bool [h, w].

    Returns:
        Rings from top to bottom, so that a part's own ring comes before those of its holes.

    Example:
        >>> rings_of(np.array([[True]]))[0].tolist()
        [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

    """
    padded = np.pad(part, 1)
    width = padded.shape[1]
    leaving = _edges(padded)
    left_of = {1: -width, -width: -1, -1: width, width: 1}
    rings = []
    for start in sorted(leaving):
        if start not in leaving:
            continue  # a ring that was traced before has passed through it
        corners: list[int] = []
        at, step = start, 0
        while at in leaving and (at != start or not corners):
            steps = leaving[at]
            # Where pixels touch at a corner alone, turning left crosses over to the other pixel.
            next_step = steps[0] if len(steps) == 1 else left_of[step]
            steps.remove(next_step)
            if not steps:
                del leaving[at]
            if next_step != step:
                corners.append(at)
            at, step = at + next_step, next_step
        y, x = np.divmod(np.array(corners), width)
        rings.append(np.stack([x, y], 1).astype(np.float64))
    return rings


def _edges(padded: NDArray[np.bool_]) -> dict[int, list[int]]:
    """Return the edges between a part and the rest, by the corner that they begin at.

    Args:
        padded: bool [h + 2, w + 2], False around the part.

    Returns:
        Corner y * (w + 2) + x -> steps to the next corner, with the part on their right.

    """
    width = padded.shape[1]
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], 0, 1),  # what lies above: its edge begins at the upper left corner
        (padded[2:, 1:-1], width + 1, -1),
        (padded[1:-1, :-2], width, -width),
        (padded[1:-1, 2:], 1, width),
    )
    leaving: dict[int, list[int]] = {}
    for neighbour, corner, step in sides:
        rows, columns = np.nonzero(inside & ~neighbour)
        for begin in (rows * width + columns + corner).tolist():
            leaving.setdefault(begin, []).append(step)
    return leaving


def with_holes(outer: Ring, holes: list[Ring]) -> Ring:
    """Return one outline of a part with holes: a cut of no width leads to each hole and back.

    Formats that know polygons alone have no other way to leave a hole free.

    Args:
        outer: the ring around the part.
        holes: the rings of its holes.

    """
    for hole in holes:
        distances = np.square(outer[:, None] - hole[None]).sum(2)
        there, here = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.concatenate([hole[here:], hole[: here + 1]])
        outer = np.concatenate([outer[: there + 1], around, outer[there:]])
    return outer


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Leave out corners of a ring that lie near the lines between those which stay.

    Ramer (CGIP 1972), Douglas and Peucker (Cartographica 1973), from two far corners on.

    Args:
        ring: the ring.
        tolerance: the largest distance of a corner that is left out, in pixels; 0 keeps all.

    Returns:
        A ring of at least three corners.

    """
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    closed = np.concatenate([ring, ring[:1]])
    far = int(np.square(ring - ring[0]).sum(1).argmax())
    kept = {0, far}
    left = [(0, far), (far, len(ring))]
    while left:
        first, last = left.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        middle = int(distances.argmax())
        if distances[middle] > tolerance:
            split = first + 1 + middle
            kept.add(split)
            left += [(first, split), (split, last)]
    return ring[sorted(kept)] if len(kept) > 2 else ring


def _distances(points: Ring, begin: NDArray[np.float64], end: NDArray[np.float64]) -> Ring:
    """Return the distances of points from a line, or from its two equal ends."""
    along = end - begin
    length = float(np.hypot(*along))
    offsets = points - begin
    if length == 0:
        found: Ring = np.hypot(offsets[:, 0], offsets[:, 1])
        return found
    crossed: Ring = np.abs(offsets[:, 0] * along[1] - offsets[:, 1] * along[0]) / length
    return crossed
