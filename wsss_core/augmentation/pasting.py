"""Objects that are cut from images by masks and pasted into other contexts.

Context decoupling augmentation (Su et al., ICCV 2021, arXiv 2103.01795), as its code does it:
objects come from images of one class whose mask covers neither too little nor too much. An object
is turned, made to fit, and pasted as it is at a random place into an image that lacks its class,
which then holds that class too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_core.errors import InputError, quoted


@dataclass(frozen=True, kw_only=True)
class PasteSettings:
    """Which objects are pasted, and how; the defaults are those of the authors' code.

    Attributes:
        share: the least and the largest share of its image that an object covers, 0..1.
        largest: the largest share of the image's sides that a pasted object takes; a larger one is
            made smaller, with its proportions.
        rotate: objects are turned by up to so many degrees either way, 0..180.

    Raises:
        InputError: a value out of its range.

    """

    share: tuple[float, float] = (0.1, 0.7)
    largest: float = field(default=0.7, metadata={"gt": 0, "le": 1})
    rotate: float = field(default=90.0, metadata={"ge": 0, "le": 180})

    def __post_init__(self) -> None:
        if len(self.share) != 2 or not 0 <= self.share[0] < self.share[1] <= 1:
            raise InputError(
                f"share is {quoted(self.share)}; expected two shares from 0 to 1, the lower first"
            )


class CutObject(NamedTuple):
    """An object in the box around it.

    Attributes:
        pixels: uint8 [h, w, 3].
        inside: bool [h, w], which of them are the object.

    """

    pixels: NDArray[np.uint8]
    inside: NDArray[np.bool_]


def cut_objects(
    images: NDArray[np.uint8],
    masks: Iterable[NDArray[np.uint8]],
    labels: NDArray[np.bool_],
    share: tuple[float, float] = (0.1, 0.7),
) -> list[list[CutObject]]:
    """Cut the objects of images that hold one class.

    Args:
        images: uint8 [N, S, S, 3].
        masks: N masks, uint8 [S, S]: 0 background, k + 1 class k, 255 ignored.
        labels: bool [N, K], which classes an image holds.
        share: the least and the largest share of the image that an object covers.

    Returns:
        For each class its objects.

    """
    found: list[list[CutObject]] = [[] for _ in range(labels.shape[1])]
    for image, mask, held in zip(images, masks, labels, strict=True):
        if held.sum() != 1:
            continue
        number = int(held.argmax())
        inside = mask == number + 1
        if not inside.any() or not share[0] <= inside.mean() <= share[1]:
            continue
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        found[number].append(CutObject(np.array(image[box]), inside[box].copy()))
    return found


def paste_object(
    image: NDArray[np.uint8],
    cut: CutObject,
    drawn: NDArray[np.float64],
    settings: PasteSettings,
) -> NDArray[np.uint8]:
    """Return an image with an object on it.

    Args:
        image: uint8 [S, S, 3].
        cut: the object.
        drawn: float [3] in 0..1: its turn, its row and its column.
        settings: how far it is turned, and how large it may be.

    """
    angle = settings.rotate * (2 * drawn[0] - 1)
    pixels, inside = Image.fromarray(cut.pixels), Image.fromarray(cut.inside)
    if settings.rotate:
        pixels = pixels.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        inside = inside.rotate(angle, Image.Resampling.NEAREST, expand=True)
    sides = image.shape[1::-1]  # width and height, as Pillow has them
    fits = min(
        1.0, *(settings.largest * s / own for s, own in zip(sides, pixels.size, strict=True))
    )
    if fits < 1:
        width, height = (max(1, int(fits * side)) for side in pixels.size)
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        inside = inside.resize((width, height), Image.Resampling.NEAREST)
    (width, height), (wide, tall) = pixels.size, sides
    row, column = int(drawn[1] * (tall - height + 1)), int(drawn[2] * (wide - width + 1))
    pasted = np.array(image)
    place = pasted[row : row + height, column : column + width]
    chosen = np.asarray(inside)
    place[chosen] = np.asarray(pixels)[chosen]
    return pasted


class Pasting:
    """Objects, and the images that they are pasted into.

    Args:
        images: uint8 [N, S, S, 3].
        labels: bool [N, K].
        masks: N masks, see `cut_objects`.
        settings: which objects, and how.

    Raises:
        InputError: no image gives an object.

    """

    DRAWN = 5
    """Numbers that an image draws: class, object, turn, row and column."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.bool_],
        masks: Iterable[NDArray[np.uint8]],
        settings: PasteSettings,
    ) -> None:
        self._images, self._labels, self._settings = images, labels, settings
        self.objects = cut_objects(images, masks, labels, settings.share)
        if not any(self.objects):
            low, high = settings.share
            raise InputError(
                f"paste: no training image of one class has a mask that covers {low:g} to {high:g} "
                "of it, so there is no object to paste; expected another `share`, or other masks"
            )

    def of(self, number: int, drawn: NDArray[np.float64]) -> tuple[NDArray, NDArray[np.float32]]:
        """Return an image with an object of a class that it lacks, and its labels.

        Where it holds every class of which there are objects, it stays as it is.

        Args:
            number: of the image.
            drawn: float [5] in 0..1.

        Returns:
            uint8 [S, S, 3] and float32 [K].

        """
        image, labels = self._images[number], self._labels[number].astype(np.float32)
        absent = [k for k, there in enumerate(self.objects) if there and not labels[k]]
        if not absent:
            return image, labels
        chosen = absent[int(drawn[0] * len(absent))]
        objects = self.objects[chosen]
        labels[chosen] = 1
        cut = objects[int(drawn[1] * len(objects))]
        return paste_object(image, cut, drawn[2:], self._settings), labels
