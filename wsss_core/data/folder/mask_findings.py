"""Findings about the masks of a split: empty or full, inverted, objects too small to be seen."""

from collections.abc import Callable, Sequence

import numpy as np

from wsss_core.data.folder.examination import ExaminedImage
from wsss_core.data.folder.findings import (
    FOLDER_REMEDIES,
    DataFinding,
    FindingKind,
    Remedies,
    Severity,
)
from wsss_core.data.folder.label_findings import place_of
from wsss_core.data.image_set import IGNORED

MOST_OBJECT = 0.8
"""The share of a class in a mask above which it may be inverted."""

FEW_PIXELS = 50
"""Below as many pixels in its own image, an object is too small to be found or to be scored."""

SMALL_AT_SIZE = 64
"""Below as many pixels at the network's size, an object fills less than 8x8."""


def largest_share(image: ExaminedImage) -> float:
    """Return the share of an image's most frequent class, ignored pixels left out; 0 without any.

    Several classes may share all pixels, as in scenes of roads, so no sum over them is suspicious.
    """
    assert image.mask is not None
    counted = sum(image.mask.codes.values()) - image.mask.ignored
    areas = [count for code, count in image.mask.codes.items() if code not in (0, IGNORED)]
    return max(areas, default=0) / counted if counted else 0.0


def mask_findings(
    images: Sequence[ExaminedImage],
    classes: Sequence[str],
    split: str,
    size: int,
    remedies: Remedies = FOLDER_REMEDIES,
) -> list[DataFinding]:
    """Return warnings of masks that may not mean what they say.

    Args:
        images: of the split.
        classes: the classes of the data set.
        split: the split.
        size: the side of the network's input in pixels.
        remedies: what is to be done about them.

    """
    masked = [image for image in images if image.mask is not None]
    if not masked:
        return []
    return [
        *_empty(masked, split, remedies),
        *_full(masked, split, "object" if len(classes) == 1 else "of one class"),
        *_few_pixels(masked, classes, split),
        *_small_at_size(masked, classes, split, size),
    ]


def _warning(
    kind: FindingKind, text: str, images: Sequence[ExaminedImage], split: str
) -> list[DataFinding]:
    if not images:
        return []
    names = [place_of(image, split) for image in images]
    return [DataFinding.counted(kind, Severity.WARNING, text, names, split)]


def _empty(masked: Sequence[ExaminedImage], split: str, remedies: Remedies) -> list[DataFinding]:
    without = [image for image in masked if image.mask and not image.mask.objects]
    empty = [image for image in without if image.mask and not image.mask.ignored]
    ignored = [image for image in without if image.mask and image.mask.ignored]
    values = sorted(
        {value for image in ignored if image.mask for value in image.mask.stored if value}
    )
    listed = ", ".join(map(str, values[:4]))
    return [
        *_warning(
            FindingKind.MASK_VALUES, "masks are empty, so their images count as clear", empty, split
        ),
        *_warning(
            FindingKind.MASK_VALUES,
            f"masks hold no class but ignored pixels (value {listed}), so their images count as "
            f"clear; {remedies.values} if it is the object there",
            ignored,
            split,
        ),
    ]


def _full(masked: Sequence[ExaminedImage], split: str, what: str) -> list[DataFinding]:
    shares = [largest_share(image) for image in masked]
    throughout = [image for image, share in zip(masked, shares, strict=True) if share == 1]
    large = [image for image, share in zip(masked, shares, strict=True) if share > MOST_OBJECT]
    if 2 * len(large) > len(masked):
        text = (
            f"masks are {what} in more than {MOST_OBJECT:.0%} of their pixels, which is most of "
            f"{len(masked):,}; are they inverted, or is the background another value than 0?"
        )
        return _warning(FindingKind.OBJECT_SHARE, text, large, split)
    partly = [image for image in large if image not in throughout]
    return [
        *_warning(
            FindingKind.OBJECT_SHARE,
            f"masks are {what} throughout, from edge to edge",
            throughout,
            split,
        ),
        *_warning(
            FindingKind.OBJECT_SHARE,
            f"masks are {what} in more than {MOST_OBJECT:.0%} of their pixels",
            partly,
            split,
        ),
    ]


def _areas(masked: Sequence[ExaminedImage], number: int) -> list[tuple[ExaminedImage, int]]:
    """Return the images that hold a class, with its pixels."""
    found = []
    for image in masked:
        if image.mask is not None and (area := image.mask.codes.get(number + 1)):
            found.append((image, area))
    return found


def _per_class(
    masked: Sequence[ExaminedImage],
    classes: Sequence[str],
    make: Callable[[str, list[tuple[ExaminedImage, int]]], list[DataFinding]],
) -> list[DataFinding]:
    found = []
    for number, name in enumerate(classes):
        if areas := _areas(masked, number):
            found += make(name, areas)
    return found


def _few_pixels(
    masked: Sequence[ExaminedImage], classes: Sequence[str], split: str
) -> list[DataFinding]:
    def make(name: str, areas: list[tuple[ExaminedImage, int]]) -> list[DataFinding]:
        few = [image for image, area in areas if area < FEW_PIXELS]
        text = (
            f"masks hold less than {FEW_PIXELS} pixels of {name}, of {len(areas):,} with it; each "
            "counts as much as any other in a mean over images"
        )
        return _warning(FindingKind.SMALL_OBJECTS, text, few, split)

    return _per_class(masked, classes, make)


def _small_at_size(
    masked: Sequence[ExaminedImage], classes: Sequence[str], split: str, size: int
) -> list[DataFinding]:
    def make(name: str, areas: list[tuple[ExaminedImage, int]]) -> list[DataFinding]:
        seen = [size**2 * area / _pixels(image) for image, area in areas]
        median = float(np.median(seen))
        if median >= SMALL_AT_SIZE:
            return []
        small = [image for (image, _), at in zip(areas, seen, strict=True) if at < SMALL_AT_SIZE]
        text = (
            f"{name} is small at {size}x{size} pixels: its median is {median:.0f} pixels, and "
            f"{len(small):,} of {len(areas):,} images with it have less than {SMALL_AT_SIZE}; a "
            "larger `data: {size: ...}` or crops show more of it"
        )
        return _warning(FindingKind.SMALL_OBJECTS, text, small, split)

    return _per_class(masked, classes, make)


def _pixels(image: ExaminedImage) -> int:
    height, width = image.picture.shape
    return height * width
