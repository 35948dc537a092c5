"""The files of an image, each read and decoded once: digests, facts, a thumbnail, and its pixels.

Whatever looks at a data folder looks at it through `examine_entries`: the check, the plan's check
and the run find the same because they see the same.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_core.data.folder.findings import DataFinding, FindingCollector, FindingKind
from wsss_core.data.folder.layout import ListedImage
from wsss_core.data.image_decoding import PictureFile, decode_image, decode_thumbnail
from wsss_core.data.mask_decoding import MaskMeaning, decode_mask
from wsss_core.data.picture_facts import MaskFacts, PictureError, PictureFacts, PictureFault
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError

_MOST_THREADS = 8  # of which each holds one image at its own size


@dataclass(frozen=True, eq=False)
class ExaminedImage:
    """What is known of an image once its files have been read.

    Attributes:
        entry: the image and its files.
        picture: what the decoding of the image found.
        mask: what the decoding of its mask found; None without a mask.
        masks_and_contexts: the same of every mask and context mask of it.
        thumbnail: see `wsss_core.data.thumbnails`.
        digests: file -> digest of the bytes that were decoded.

    """

    entry: ListedImage
    picture: PictureFacts
    mask: MaskFacts | None
    masks_and_contexts: tuple[MaskFacts, ...]
    thumbnail: np.ndarray
    digests: Mapping[Path, str]

    def held(self, classes: int) -> tuple[int, ...]:
        """Return the indices of the classes that the image holds, of so many.

        Those of a training image are its label's, those of others what their mask holds.
        """
        if self.mask is None:
            return self.entry.train_classes
        return tuple(index for index in range(classes) if self.mask.codes.get(index + 1))


ExaminedSplit = Sequence[ExaminedImage]
"""The images of a split that can be used."""


@dataclass(frozen=True, eq=False)
class ImagePixels:
    """The pixels of an image as a network and the scoring need them.

    Attributes:
        image: uint8 [S, S, 3], RGB.
        mask: uint8 [h, w]: 0 background, k + 1 class k, 255 ignored; None without a mask.
        context: the same of its context mask.

    """

    image: np.ndarray
    mask: np.ndarray | None
    context: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Examination:
    """An image that was examined: its facts and pixels, or why it cannot be used.

    Attributes:
        facts: None where a file of it is refused.
        pixels: where they were asked for.
        errors: of its files, each once.
        digests: file -> digest of the bytes that were read.

    """

    facts: ExaminedImage | None
    pixels: ImagePixels | None
    errors: tuple[InputError, ...]
    digests: Mapping[Path, str]


def examine_entries(
    entries: Sequence[ListedImage],
    meaning: MaskMeaning,
    rules: PixelRules,
    *,
    size: int | None = None,
    progress: ProgressLines | None = None,
) -> Iterator[Examination]:
    """Read every file of some images once, several at a time; yield what was found, in order.

    Args:
        entries: the images.
        meaning: what the values of masks mean.
        rules: how pixels are read.
        size: the side of the pixels to return; None: none are kept, and JPEGs are decoded at a
            fraction of their size, which reads all of their bytes.
        progress: told of each image.

    """

    def examine(entry: ListedImage) -> Examination:
        found = _examine(entry, meaning, rules, size)
        if progress is not None:
            progress.step()
        return found

    threads = min(_MOST_THREADS, (os.cpu_count() or 1) + 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(examine, entries)


def _examine(
    entry: ListedImage, meaning: MaskMeaning, rules: PixelRules, size: int | None
) -> Examination:
    errors: list[InputError] = []
    digests: dict[Path, str] = {}
    picture = image = thumbnail = None
    try:
        file = PictureFile.read(entry.image, rules)
        digests[entry.image] = file.digest
        small = decode_thumbnail(file, rules)
        picture, thumbnail = small.facts, small.pixels.ravel()
        if size is not None:
            image = decode_image(file, size, rules).pixels
    except InputError as error:
        errors.append(error)
    masks: dict[str, MaskFacts] = {}
    codes: dict[str, np.ndarray] = {}
    for kind, path in (("mask", entry.mask), ("context", entry.context)):
        if path is None:
            continue
        try:
            file = PictureFile.read(path, rules)
            digests[path] = file.digest
            decoded = decode_mask(file, meaning, rules, scored=kind == "mask")
            masks[kind] = decoded.facts
            if size is not None:
                codes[kind] = decoded.codes
            if picture is not None and decoded.facts.shape != picture.shape:
                errors.append(_other_size(path, decoded.facts, picture, rules))
        except InputError as error:
            errors.append(error)
    if errors or picture is None or thumbnail is None:
        return Examination(None, None, tuple(errors), digests)
    pixels = image if image is None else ImagePixels(image, codes.get("mask"), codes.get("context"))
    found = ExaminedImage(
        entry, picture, masks.get("mask"), tuple(masks.values()), thumbnail, digests
    )
    return Examination(found, pixels, (), digests)


def _other_size(
    path: Path, mask: PictureFacts, picture: PictureFacts, rules: PixelRules
) -> PictureError:
    (height, width), (other_height, other_width) = picture.shape, mask.shape
    because = ""
    if picture.turned:
        said = "not applied; `data: {orientation: apply}` turns it upright"
        if rules.orientation == "apply":
            said = "turned upright; `data: {orientation: ignore}` reads it as stored"
        because = f" (its EXIF orientation {picture.orientation} is {said})"
    return PictureError(
        PictureFault.SIZES,
        path,
        "",
        f"{other_width}x{other_height} pixels, expected {width}x{height} as its image "
        f"{picture.path}{because}",
    )


def collected_errors(errors: Sequence[InputError]) -> list[DataFinding]:
    """Return a fault for each reason why files cannot be used."""
    told = FindingCollector()
    for error in errors:
        if isinstance(error, PictureError):
            text = str(error).removeprefix(f"{error.path}: ")
            reason = error.reason or str(error.fault)
            told.refuse(FindingKind(str(error.fault)), text, error.path, reason)
        else:
            path, _, text = str(error).partition(": ")
            told.refuse(FindingKind.UNREADABLE, text, path)
    return told.findings()
