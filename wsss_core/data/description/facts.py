"""What a description knows of an image, and the picture that it shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsss_core.data.image_set import IGNORED


@dataclass(frozen=True)
class Look:
    """How an image looks, whatever it shows; each from 0 to 255.

    Attributes:
        brightness: mean of the grey values.
        contrast: their standard deviation.
        colour: mean difference of the largest and the smallest channel of a pixel.

    """

    brightness: float
    contrast: float
    colour: float


@dataclass(frozen=True)
class ImageFacts:
    """What a description needs to know of an image.

    Attributes:
        split: "train", "tune" or "test".
        identifier: its name in the split.
        held: of each class, whether the image holds it.
        height: in pixels.
        width: in pixels.
        group: the frame, clip or patient that it was taken from; "" if unknown.
        source: the data set that it comes from; "" if unknown.
        camera: the camera or place; "" if unknown.
        flags: words about it, e.g. "night".
        areas: of each class the share of the pixels, in [0, 1], of those that are not ignored; None
            without a mask.
        contexts: names of what is seen that tends to accompany a class; None if that is unknown.
        look: how it looks; None if that was not measured.
        looks: what that is called among the images of its splits, e.g. "dark".

    """

    split: str
    identifier: str
    held: tuple[bool, ...]
    height: int
    width: int
    group: str = ""
    source: str = ""
    camera: str = ""
    flags: tuple[str, ...] = ()
    areas: tuple[float, ...] | None = None
    contexts: tuple[str, ...] | None = None
    look: Look | None = None
    looks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ShownImage:
    """An image as it is shown.

    Attributes:
        rgb: uint8 [H, W, 3].
        mask: uint8 [H, W], k + 1 for class k, 255 ignored; None without a mask.
        context: uint8 [H, W], k + 1 for the context of class k; None if unknown.

    """

    rgb: np.ndarray
    mask: np.ndarray | None = None
    context: np.ndarray | None = None


def class_areas(pixels: Mapping[int, int], count: int) -> tuple[float, ...]:
    """Return the share of each class among the pixels of a mask that are not ignored.

    Args:
        pixels: code -> how many pixels of the mask have it; k + 1 for class k, 255 ignored.
        count: how many classes there are.

    >>> class_areas({0: 1, 1: 2, 255: 1}, 2)
    (0.6666666666666666, 0.0)
    """
    counted = sum(pixels.values()) - pixels.get(IGNORED, 0)
    return tuple(pixels.get(k + 1, 0) / counted if counted else 0.0 for k in range(count))


def group_numbers(images: Sequence[ImageFacts]) -> np.ndarray:
    """Return a number for the group of each image, int [N]; one of unknown group is its own."""
    names = [("group", one.group) if one.group else (one.split, one.identifier) for one in images]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def contexts_in(pixels: Mapping[int, int], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the contexts in a context mask.

    Args:
        pixels: code -> how many pixels have it; k + 1 for the context of class k.
        names: of the contexts, in the order of their classes.

    >>> contexts_in({0: 9, 2: 1}, ["chimneys", "cooling towers"])
    ('cooling towers',)
    """
    return tuple(name for number, name in enumerate(names) if pixels.get(number + 1))
