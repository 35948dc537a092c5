"""A mask as the parts that people correct one by one: connected pixels of the same class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3), bool)  # pixels that touch at a corner are of the same part


@dataclass(frozen=True, eq=False)
class MaskPart:
    """Connected pixels of a class.

    Attributes:
        code: their value in the mask: k + 1 for class k, 255 for undecided pixels.
        left: the first column of the box around them.
        top: the first row of that box.
        pixels: bool [h, w], the pixels within the box.
        score: how sure the network is of them, 0 to 1; None: not known.

    """

    code: int
    left: int
    top: int
    pixels: NDArray[np.bool_]
    score: float | None = None

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(self.pixels.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the box around the pixels, as COCO writes it."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image with the parts of its mask.

    Attributes:
        name: the image's path in its folder, with "/".
        shape: (H, W) of image and mask.
        parts: in the order of their codes, then from top to bottom.

    """

    name: str
    shape: tuple[int, int]
    parts: tuple[MaskPart, ...]


def numbered_parts(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[int]]:
    """Number the parts of a mask.

    Args:
        mask: uint8 [H, W], 0 for the background.

    Returns:
        int32 [H, W]: 0, or the number of a part from 1 on; and the code of each part.

    Example:
        >>> numbered_parts(np.array([[1, 0, 1, 2]], np.uint8))
        (array([[1, 0, 2, 3]], dtype=int32), [1, 1, 2])

    """
    numbers = np.zeros(mask.shape, np.int32)
    codes: list[int] = []
    for code in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist():
        if code == 0:
            continue
        found, count = ndimage.label(mask == code, structure=_TOUCHING)
        np.add(found, len(codes), out=numbers, where=found > 0, casting="unsafe")
        codes += [code] * count
    return numbers, codes


def mean_scores(
    numbers: NDArray[np.int32], parts: int, scores: NDArray[np.floating]
) -> list[float]:
    """Return the mean score of each part's pixels, rounded to four digits.

    Args:
        numbers: of `numbered_parts`.
        parts: how many there are.
        scores: float [H, W], 0 to 1.

    """
    if not parts:
        return []
    sums = np.bincount(numbers.ravel(), scores.ravel(), parts + 1)[1:]
    counts = np.bincount(numbers.ravel(), minlength=parts + 1)[1:]
    return [round(float(mean), 4) for mean in sums / counts]


def mask_parts(
    mask: NDArray[np.uint8], scores: Sequence[float | None] | None = None
) -> tuple[MaskPart, ...]:
    """Return the parts of a mask.

    Args:
        mask: uint8 [H, W], 0 for the background.
        scores: of each part in the order of `numbered_parts`; None, or of another number: unknown.

    """
    numbers, codes = numbered_parts(mask)
    if scores is None or len(scores) != len(codes):
        scores = [None] * len(codes)
    return tuple(
        MaskPart(code, columns.start, rows.start, numbers[rows, columns] == number, score)
        for number, (code, score, (rows, columns)) in enumerate(
            zip(codes, scores, ndimage.find_objects(numbers), strict=True), 1
        )
    )
