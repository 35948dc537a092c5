"""COCO's segmentations by pycocotools: polygons, run lengths, compressed run lengths.

pycocotools trusts what it is given: run lengths that end before the image does leave the rest of
the decoded array as the memory was, and a polygon of two points is an error of types.
So counts are added up and points tallied before it sees them. Polygons of one annotation are united
where they overlap; a hole is known to run lengths alone. pycocotools' `rleFrPoly` rasterises: the
outline on a grid five times as fine, which pixels follow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError, quoted

MOST_POINTS = 100_000
"""The most numbers in one polygon."""


@dataclass(frozen=True)
class CocoPart:
    """The pixels of one annotation.

    Attributes:
        counts: compressed run lengths over the columns; None for a box.
        box: left, top, width, height; used where there are no counts.
        code: k + 1 for class k, or 255.

    """

    code: int
    counts: bytes | None = None
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class CocoMask:
    """The annotations of an image, painted in the order of the file: later ones cover earlier.

    Attributes:
        shape: height and width of the image.
        parts: the annotations.

    """

    shape: tuple[int, int]
    parts: tuple[CocoPart, ...]

    def read(self) -> np.ndarray:
        """Paint the mask, see `MaskMaker.read`; ignored boxes lie below everything else."""
        tool = mask_tool()
        mask = np.zeros(self.shape, np.uint8)
        below = [part for part in self.parts if part.counts is None and part.code == IGNORED]
        for part in [*below, *(part for part in self.parts if part not in below)]:
            if part.counts is not None:
                inside = tool.decode({"size": list(self.shape), "counts": part.counts})
                mask[inside.astype(bool)] = part.code
            elif part.box is not None:
                left, top, width, height = part.box
                mask[top : top + height, left : left + width] = part.code
        return mask


def mask_tool() -> Any:
    """Return pycocotools' module of masks.

    Raises:
        InputError: it is not installed.

    """
    try:
        import pycocotools.mask
    except ImportError as error:
        raise InputError(
            "COCO's masks need pycocotools: pip install 'wsss-studies[formats]'"
        ) from error
    return pycocotools.mask


def run_lengths(segmentation: object, shape: tuple[int, int], where: str) -> bytes | None:
    """Return the compressed run lengths of an annotation's segmentation; None if it is empty.

    Args:
        segmentation: a list of polygons, or run lengths in either form.
        shape: height and width of the image.
        where: the file and annotation, for messages.

    Raises:
        InputError: it is none of these, does not fit the image, or lies far outside.

    """
    tool = mask_tool()
    if isinstance(segmentation, dict):
        return _checked_runs(segmentation, shape, where)
    if segmentation is None or segmentation == []:
        return None
    if not isinstance(segmentation, list):
        raise InputError(f"{where}: segmentation {quoted(segmentation)}, expected polygons or runs")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    checked = [_checked_polygon(polygon, shape, where) for polygon in polygons]
    drawn = [polygon for polygon in checked if polygon]
    if not drawn:
        return None
    merged = tool.merge(tool.frPyObjects(drawn, *shape))
    return bytes(merged["counts"])


def whole_box(box: object, shape: tuple[int, int], where: str) -> tuple[int, int, int, int] | None:
    """Return a box in whole pixels, cut to the image; None where there is none.

    Args:
        box: left, top, width, height in pixels.
        shape: height and width of the image.
        where: the file and annotation, for messages.

    Raises:
        InputError: it is no list of four numbers.

    """
    if not isinstance(box, list) or not box:
        return None
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in box)
    if len(box) != 4 or not numbers or any(abs(number) > 1e6 for number in box):
        raise InputError(f"{where}: box {quoted(box)}, expected left, top, width, height")
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right = min(shape[1], -int(-(box[0] + box[2]) // 1))
    bottom = min(shape[0], -int(-(box[1] + box[3]) // 1))
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _checked_polygon(polygon: object, shape: tuple[int, int], where: str) -> list[float] | None:
    """Return a polygon's coordinates, or None where it has fewer than three points."""
    if not isinstance(polygon, list) or len(polygon) % 2 or len(polygon) > MOST_POINTS:
        raise InputError(f"{where}: polygon {quoted(polygon)}, expected x, y, x, y, ...")
    limit = 2 * max(shape)
    for number in polygon:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"{where}: polygon with {quoted(number)}, expected numbers")
        if not -limit <= number <= 2 * limit:
            raise InputError(
                f"{where}: polygon with {number}, far outside its image of "
                f"{shape[1]}x{shape[0]} pixels"
            )
    return [float(number) for number in polygon] if len(polygon) >= 6 else None


def _checked_runs(runs: dict[Any, Any], shape: tuple[int, int], where: str) -> bytes | None:
    size, counts = runs.get("size"), runs.get("counts")
    if size != list(shape):
        raise InputError(
            f"{where}: run lengths of size {quoted(size)}, expected [{shape[0]}, {shape[1]}] as "
            "the image"
        )
    if isinstance(counts, str):
        lengths = _decompressed(counts, where)
    elif isinstance(counts, list):
        lengths = counts
    else:
        raise InputError(f"{where}: run lengths {quoted(counts)}, expected a text or numbers")
    pixels = shape[0] * shape[1]
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= pixels:
            raise InputError(f"{where}: run length {quoted(length)}, expected 0 to {pixels}")
    if sum(lengths) != pixels:
        raise InputError(
            f"{where}: run lengths of {sum(lengths)} pixels, expected {pixels} as the image has"
        )
    if isinstance(counts, str):
        return counts.encode() if sum(lengths[1::2]) else None
    made = mask_tool().frPyObjects({"size": list(shape), "counts": lengths}, *shape)
    return bytes(made["counts"]) if sum(lengths[1::2]) else None


def _decompressed(text: str, where: str) -> list[int]:
    """Return the run lengths that COCO's text stands for.

    Each number is written in groups of five bits, lowest first, from the character "0" on; a sixth
    bit says that more follow. From the fourth number on it is the difference to the number two
    before.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise InputError(f"{where}: run lengths {quoted(text)} are not COCO's text")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise InputError(f"{where}: run lengths {quoted(text)} end within a number")
    return lengths
