"""Run lengths as tables hold them: pairs of a start and a length, pixels counted from 1.

Kaggle counts pixels down the columns, from left to right; some of its competitions along the rows.
Nothing in a table says which, but the wrong order tears objects into stripes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss_core.data.formats.common.contents import Picture
from wsss_core.errors import InputError, quoted

RunOrder = Literal["columns", "rows"]

NO_RUNS = ("", "-1", "nan", "none", "null")
"""What stands, in small letters, for an image without the object."""

_DIGITS = 12  # of a number; an image has fewer pixels


@dataclass(frozen=True)
class Runs:
    """The run lengths of a line of a table.

    Attributes:
        code: k + 1 for class k.
        text: starts and lengths, e.g. "1 3 10 5".
        where: the file and line, for messages.

    """

    code: int
    text: str
    where: str


@dataclass(frozen=True)
class RunMask:
    """The lines of an image, painted in the order of the table: later ones cover earlier.

    Attributes:
        picture: the image, whose size the mask has.
        parts: the lines.
        order: whether pixels are counted down the columns or along the rows.

    """

    picture: Picture
    parts: tuple[Runs, ...]
    order: RunOrder = "columns"

    def read(self) -> np.ndarray:
        """Paint the mask, see `MaskMaker.read`."""
        height, width = self.picture.shape()
        flat = np.zeros(height * width, np.uint8)
        for part in self.parts:
            for start, end in _spans(part, flat.size):
                flat[start:end] = part.code
        return flat.reshape((height, width), order="F" if self.order == "columns" else "C")


def _spans(part: Runs, pixels: int) -> list[tuple[int, int]]:
    words = part.text.split()
    if len(words) % 2 or not all(w.isascii() and w.isdigit() and len(w) < _DIGITS for w in words):
        raise InputError(
            f"{part.where}: run lengths {quoted(part.text)}, expected a start and a length of each"
        )
    numbers = list(map(int, words))
    spans = []
    end = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if start < 1 or length < 1 or start - 1 < end:
            raise InputError(
                f"{part.where}: run of {length} pixels from {start} after one that ends at {end}, "
                "expected runs in ascending order, pixels counted from 1"
            )
        end = start - 1 + length
        if end > pixels:
            raise InputError(
                f"{part.where}: run that ends at pixel {end}, expected at most {pixels} as the "
                "image has"
            )
        spans.append((start - 1, end))
    return spans


def torn(masks: Sequence[RunMask]) -> bool:
    """Return whether run lengths are read in the wrong order, by the borders of what they show.

    Raises:
        InputError: one cannot be read.

    """
    borders = {"columns": 0, "rows": 0}
    for mask in masks:
        height, width = mask.picture.shape()
        if height == width:
            continue  # the other order shows the same shape, mirrored
        for order in borders:
            shown = RunMask(mask.picture, mask.parts, order).read() > 0  # type: ignore[arg-type]
            borders[order] += int((shown[1:] != shown[:-1]).sum())
            borders[order] += int((shown[:, 1:] != shown[:, :-1]).sum())
    if not masks:
        return False
    order = masks[0].order
    other = "rows" if order == "columns" else "columns"
    return 2 * borders[other] < borders[order]
