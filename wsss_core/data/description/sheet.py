"""The contact sheet: thumbnails with the outlines of masks, a row for each class and split.

Images are drawn at random, from as many groups as possible, and the same ones each time. Below lie
the images that follow a strong lift, and those that speak against it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wsss_core.data.description.cooccurrence import SCOPES, Cooccurrence, has_companion
from wsss_core.data.description.facts import ImageFacts, ShownImage
from wsss_core.data.description.readers import DescribedImages
from wsss_core.data.description.traps import Trap
from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.image_set import IGNORED, SPLITS

LONGEST = 160
"""The longest side of a thumbnail in pixels."""

COLOURS = (
    (255, 214, 0), (255, 64, 160), (120, 255, 90), (255, 120, 40), (190, 120, 255), (255, 255, 255),
)  # fmt: skip
"""Colours of the outlines of classes, in their order; they begin anew after the last."""

CONTEXT_COLOUR, IGNORED_COLOUR = (0, 229, 255), (150, 150, 150)

_ROWS = 16  # of classes and splits
_SHOWN_TRAPS = 4


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """An image on the sheet.

    Attributes:
        facts: of the image.
        pixels: uint8 [h, w, 3], with outlines.

    """

    facts: ImageFacts
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A row of the sheet.

    Attributes:
        title: what its images have in common.
        of: how many images of the data set have it in common.
        thumbnails: some of them.

    """

    title: str
    of: int
    thumbnails: tuple[Thumbnail, ...]


def contact_rows(
    reader: DescribedImages, images: Sequence[ImageFacts], in_row: int
) -> tuple[SheetRow, ...]:
    """Return a row for each class and for clear images, of each split; at most `_ROWS`."""
    asked = []
    for split in SPLITS:
        here = [one for one in images if one.split == split]
        for number, name in enumerate(reader.classes):
            asked.append((f"{split}: {name}", [one for one in here if one.held[number]]))
        asked.append((f"{split}: {CLEAR}", [one for one in here if not any(one.held)]))
    filled = [(title, members) for title, members in asked if members]
    # Of many classes those with most images are shown.
    most = sorted(filled, key=lambda row: -len(row[1]))[:_ROWS]
    return tuple(_row(reader, *row, in_row) for row in filled if row in most)


def trap_rows(
    reader: DescribedImages, images: Sequence[ImageFacts], found: Sequence[Trap], in_row: int
) -> tuple[tuple[Trap, tuple[SheetRow, ...]], ...]:
    """Return the first few traps with images that follow them, and images that do not."""
    return tuple(
        (trap, tuple(_of_trap(reader, images, trap.cooccurrence, in_row)))
        for trap in found[:_SHOWN_TRAPS]
    )


def _of_trap(
    reader: DescribedImages, images: Sequence[ImageFacts], one: Cooccurrence, in_row: int
) -> Iterator[SheetRow]:
    number = reader.classes.index(one.class_name)
    here = [
        (image.held[number], has, image)
        for image in images
        if image.split in SCOPES[one.scope]
        and (has := has_companion(image, one, reader.classes)) is not None
    ]
    for held, with_it in ((True, True), (True, False), (False, True), (False, False)):
        members = [image for *which, image in here if which == [held, with_it]]
        verdict = "for" if (held == with_it) == (one.lift > 1) else "against"
        holding = one.class_name if held else f"no {one.class_name}"
        title = f"{verdict}: {holding}, {'with' if with_it else 'without'} {one.name}"
        yield _row(reader, title, members, in_row)


def _row(
    reader: DescribedImages, title: str, members: Sequence[ImageFacts], in_row: int
) -> SheetRow:
    chosen = sorted(some_of(members, in_row), key=lambda one: SPLITS.index(one.split))
    shown = tuple(
        Thumbnail(one, outlined(reader.picture(one), len(reader.classes))) for one in chosen
    )
    return SheetRow(title, len(members), shown)


def some_of(members: Sequence[ImageFacts], count: int) -> list[ImageFacts]:
    """Return some images at random, of as many groups as possible; the same ones each time."""

    def drawn(one: ImageFacts) -> bytes:
        return hashlib.blake2b(f"{one.split}/{one.identifier}".encode(), digest_size=8).digest()

    seen: dict[str, int] = {}
    ranked: list[tuple[int, int, ImageFacts]] = []
    for one in sorted(members, key=drawn):
        group = one.group or f"{one.split}/{one.identifier}"
        ranked.append((seen.get(group, 0), len(ranked), one))
        seen[group] = seen.get(group, 0) + 1
    return [one for _, _, one in sorted(ranked, key=lambda rank: rank[:2])[:count]]


def outlined(picture: ShownImage, classes: int, longest: int = LONGEST) -> np.ndarray:
    """Return a picture made small, uint8 [h, w, 3], with a line along the edge of each mask.

    Args:
        picture: an image with its masks, which may have another size than the image.
        classes: how many classes there are.
        longest: the longer side in pixels; a smaller image is enlarged by a whole factor.

    """
    height, width = picture.rgb.shape[:2] if picture.mask is None else picture.mask.shape
    scale = longest / max(height, width)
    scale = float(int(scale)) if scale >= 2 else min(scale, 1.0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    small = np.array(Image.fromarray(picture.rgb).resize(size, how))
    regions: list[tuple[np.ndarray | None, int, tuple[int, int, int]]] = [
        (picture.context, number + 1, CONTEXT_COLOUR) for number in range(classes)
    ]
    regions.append((picture.mask, IGNORED, IGNORED_COLOUR))
    regions += [
        (picture.mask, number + 1, COLOURS[number % len(COLOURS)]) for number in range(classes)
    ]
    for codes, code, colour in regions:
        if codes is not None:
            small[_edge(_small(codes == code, size))] = colour
    return small


def _small(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a region at another size; it keeps a pixel where it would vanish."""
    if not region.any():
        return np.zeros(size[::-1], bool)
    share = np.asarray(
        Image.fromarray(region.astype(np.float32)).resize(size, Image.Resampling.BOX)
    )
    return share >= min(0.5, float(share.max()))


def _edge(region: np.ndarray) -> np.ndarray:
    """Return the pixels of a region that touch its outside; the picture's border is no outside."""
    framed = np.pad(region, 1, mode="edge")
    whole = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return region & ~whole
