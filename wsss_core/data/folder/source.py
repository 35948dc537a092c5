"""A data set of image and mask files in a folder, laid out as `layout` describes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder.check import DataSummary, summarise_folder
from wsss_core.data.folder.class_list import FolderClasses, check_threshold
from wsss_core.data.folder.layout import (
    LABELS,
    ListedImage,
    find_classes,
)
from wsss_core.data.folder.listing import list_split
from wsss_core.data.folder.training_masks import TrainingMask, open_training_masks
from wsss_core.data.image_decoding import (
    PictureFile,
    decode_image,
    exif_orientation,
    image_shape,
)
from wsss_core.data.image_set import SPLITS, ImageSet, PixelMaps
from wsss_core.data.mask_decoding import DecodedMask, decode_mask, mask_shape
from wsss_core.data.picture_facts import MaskFacts, PictureFacts
from wsss_core.data.pixel_rules import USUAL_RULES, PixelRules
from wsss_core.errors import InputError, as_input_error, checked_path


@dataclass(frozen=True, eq=False)
class DecodedEntry:
    """An image of a split with its mask and context mask, each decoded once.

    Attributes:
        pixels: uint8 [S, S, 3].
        facts: what the image's decoding found.
        mask: the decoded mask, or None.
        context: the decoded context mask, or None.
        digests: file -> digest of the bytes that were decoded.

    """

    pixels: np.ndarray
    facts: PictureFacts
    mask: DecodedMask | None
    context: DecodedMask | None
    digests: Mapping[Path, str]


class FolderSource:
    """The splits of a data folder, as an `ImageSource`; for the layout see `layout`.

    Args:
        root: the data folder.
        rules: how the pixels of its files are read.
        threshold: the least mask value that is object, for a single class; None: that of
            `classes.yaml`, if there is one.

    Raises:
        InputError: there is no such folder, its classes are not clear, or the threshold does not
            fit them.

    """

    def __init__(
        self, root: Path, rules: PixelRules = USUAL_RULES, threshold: int | None = None
    ) -> None:
        self.root = checked_path(root)
        self.rules = rules
        self._classes = find_classes(self.root)
        if threshold is not None:
            self._classes = _cut_at(self._classes, threshold, self.root)
        # Of each split the digest of every file, by path, and the fingerprint that was given.
        self._taken: dict[str, tuple[dict[Path, str], str]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes, in the order of their mask values."""
        return self._classes.names

    @property
    def mask_values(self) -> tuple[int, ...] | None:
        """Return the mask value of each class; None where every value above 0 is the class."""
        return self._classes.mask_values

    def images(self, split: str) -> list[ListedImage]:
        """Return the images of a split and their files, sorted by identifier; opens none.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        return list_split(self.root, split, self._classes)

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes and names of the split's images, masks and context masks, the classes,
        what mask values mean where there are masks, groups, sources and cameras, which files are
        turned upright, and the white level of 16-bit images. Masks of training images, where the
        data folder lies, dates and unrelated files do not matter.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        entries = self.images(split)
        files = [path for entry in entries for path in _files(entry)]
        digests = dict(zip(files, file_hashes(files), strict=True))
        taken = self._fingerprint(split, entries, digests)
        self._taken[split] = digests, taken
        return taken

    def _fingerprint(
        self, split: str, entries: list[ListedImage], digests: Mapping[Path, str]
    ) -> str:
        folder = self.root / split
        content: dict[str, object] = {
            "classes": self.classes,
            "mask_values": None if split == "train" else self._classes.mask_values,
            "files": sorted(
                (path.relative_to(folder).as_posix(), digest) for path, digest in digests.items()
            ),
            "groups": [
                (entry.identifier, entry.group)
                for entry in entries
                if entry.group != entry.identifier
            ],
        }
        if any(entry.source or entry.camera for entry in entries):
            content["origins"] = [(e.identifier, e.source, e.camera) for e in entries]
        if split != "train":
            content |= self._classes.unusual
        if turned := self._turned(digests):
            content["turned"] = [path.relative_to(folder).as_posix() for path in turned]
        if self.rules.white_level is not None:
            content["white_level"] = self.rules.white_level
        if (folder / LABELS).exists():
            # Class folders show in the names of the files, lines of a table do not.
            content["labels"] = [(entry.identifier, entry.train_classes) for entry in entries]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def read(self, split: str, size: int) -> ImageSet:
        """Decode a split: images of size x size pixels, masks at their own resolution.

        The label of a training image is its folder or its line in labels.csv, that of the others
        what their mask holds.
        Full-size images are held only while they are being decoded, one per thread. Every file is
        read once; its digest and its pixels are of the same bytes. They are compared with the
        fingerprint that was given last.

        Raises:
            InputError: the first bad file by identifier: sizes that differ, then unreadable
                files and mask values; or a file that changed since the fingerprint was taken.

        """
        if size < 1:
            raise ValueError(f"size {size}, expected at least 1 pixel")
        entries = self.images(split)
        little = f"{self.root / split}: there is too little memory for its {len(entries)} images"
        with as_input_error(little, MemoryError), ThreadPoolExecutor() as pool:
            images = np.empty((len(entries), size, size, 3), np.uint8)
            labels = np.zeros((len(entries), len(self.classes)), np.bool_)
            shapes = list(pool.map(self._common_shape, entries))
            masks = _allocate(entries, shapes, lambda entry: entry.mask)
            contexts = _allocate(entries, shapes, lambda entry: entry.context)

            facts: list[MaskFacts] = []

            def decode(index: int) -> DecodedEntry:
                entry = entries[index]
                decoded = self.decode(entry, size)
                images[index] = decoded.pixels
                labels[index, list(entry.train_classes)] = True
                for path, maps, found in (
                    (entry.mask, masks, decoded.mask),
                    (entry.context, contexts, decoded.context),
                ):
                    if path is not None and found is not None:
                        _fill(maps, index, found.codes, path)
                if decoded.mask is not None:
                    present = [k + 1 in decoded.mask.facts.codes for k in range(len(self.classes))]
                    labels[index] = present
                return decoded

            digests: dict[Path, str] = {}
            for decoded in pool.map(decode, range(len(entries))):
                digests |= decoded.digests
                if decoded.mask is not None:
                    facts.append(decoded.mask.facts)
        self._check_unchanged(split, entries, digests)
        if split != "train" and not labels.any():
            raise InputError(f"{self.root / split / 'masks'}: {self._why_empty(facts)}")
        identifiers = tuple(entry.identifier for entry in entries)
        return ImageSet(
            classes=self.classes,
            images=images,
            labels=labels,
            identifiers=identifiers,
            groups=tuple(entry.group for entry in entries),
            sources=tuple(entry.source for entry in entries),
            cameras=tuple(entry.camera for entry in entries),
            masks=None if split == "train" else masks,
            contexts=contexts if any(entry.context for entry in entries) else None,
        )

    def decode(self, entry: ListedImage, size: int) -> DecodedEntry:
        """Decode an image of a split, its mask and its context mask, each file once.

        Args:
            entry: one of `images`.
            size: the side of the image in pixels; masks keep their own resolution.

        Raises:
            InputError: a file is unreadable, or refused; usually a
                `wsss_core.data.picture_facts.PictureError`.

        """
        file = PictureFile.read(entry.image, self.rules)
        image = decode_image(file, size, self.rules)
        digests = {entry.image: file.digest}
        found: list[DecodedMask | None] = []
        for path, scored in ((entry.mask, True), (entry.context, False)):
            if path is None:
                found.append(None)
                continue
            file = PictureFile.read(path, self.rules)
            digests[path] = file.digest
            found.append(decode_mask(file, self._classes.meaning, self.rules, scored=scored))
        mask, context = found
        return DecodedEntry(image.pixels, image.facts, mask, context, digests)

    def _common_shape(self, entry: ListedImage) -> tuple[int, int]:
        """Return (height, width) of an image, which its mask and context mask must share."""
        height, width = image_shape(entry.image, self.rules)
        for path in (entry.mask, entry.context):
            if path is None or (other := mask_shape(path, self.rules)) == (height, width):
                continue
            raise InputError(
                f"{path}: {other[1]}x{other[0]} pixels, expected {width}x{height} "
                f"as its image {entry.image}{self._because_of_orientation(entry.image)}"
            )
        return height, width

    def _because_of_orientation(self, image: Path) -> str:
        """Return what a difference in size may have to do with an EXIF orientation."""
        tag = exif_orientation(image)
        if tag == 1:
            return ""
        if self.rules.orientation == "apply":
            said = "turned upright; `data: {orientation: ignore}` reads it as stored"
        else:
            said = "not applied; `data: {orientation: apply}` turns it upright"
        return f" (its EXIF orientation {tag} is {said})"

    def _turned(self, files: Iterable[Path]) -> list[Path]:
        """Return the files that the rules turn upright, sorted."""
        if self.rules.orientation != "apply":
            return []
        images = sorted(path for path in files if path.suffix.lower() != ".npy")
        with ThreadPoolExecutor() as pool:
            found = pool.map(exif_orientation, images)
            return [path for path, tag in zip(images, found, strict=True) if tag != 1]

    def _why_empty(self, facts: Sequence[MaskFacts]) -> str:
        """Return why no mask of a split holds a class."""
        expected = f"expected at least one with {' or '.join(self.classes)}"
        ignored = [one for one in facts if one.ignored]
        if not ignored:
            return f"every mask is empty, {expected}"
        values = sorted({v for one in ignored for v in one.stored if v in self._classes.ignored})
        return (
            f"all objects have the value {', '.join(map(str, values))}, which is ignored "
            f"({len(ignored)} of {len(facts)} masks), {expected}; list it in classes.yaml if it is "
            f"a class, e.g. `classes: {{{values[0]}: {self.classes[0]}}}`"
        )

    def _check_unchanged(
        self, split: str, entries: list[ListedImage], digests: Mapping[Path, str]
    ) -> None:
        """Raise unless what was read has the fingerprint that was given before, if one was."""
        if split not in self._taken:
            return
        before, fingerprint = self._taken[split]
        if self._fingerprint(split, entries, digests) == fingerprint:
            return
        changed = [path for path, digest in digests.items() if before.get(path) != digest]
        changed += [path for path in before if path not in digests]
        raise InputError(
            f"{changed[0] if changed else self.root / split}: changed while it was read; run again "
            "when nothing writes to the data folder"
        )

    def training_masks(self, size: int | None = None) -> dict[str, TrainingMask]:
        """Return identifier -> mask of the training images that have one, sorted by identifier.

        Args:
            size: the side of the decoded masks in pixels; None: their own height and width.

        Raises:
            InputError: a mask has no image, or another size than its image.

        """
        meaning, rules = self._classes.meaning, self.rules

        def decode(file: PictureFile) -> np.ndarray:
            return decode_mask(file, meaning, rules, scored=False).codes

        images = self.images("train")
        return open_training_masks(self.root / "train", images, self._classes, decode, size, rules)

    def check(self) -> DataSummary:
        """Read everything once and describe it.

        Raises:
            InputError: the first thing that is wrong, split by split.

        """
        listed = {split: self.images(split) for split in SPLITS}
        self.training_masks()
        return summarise_folder(self, listed, counts_every_value=self._classes.mask_values is None)


def _cut_at(classes: FolderClasses, threshold: int, root: Path) -> FolderClasses:
    """Return classes whose masks are cut at a threshold that the study gives."""
    values = classes.mask_values
    names = {} if values is None else dict(zip(values, classes.names, strict=True))
    check_threshold(f"{root}: data.threshold", threshold, names)
    if classes.threshold not in (None, threshold):
        raise InputError(
            f"{root}: data.threshold {threshold}, and classes.yaml says {classes.threshold}; "
            "expected one of them, or the same"
        )
    return replace(classes, threshold=threshold)


def _allocate(
    entries: list[ListedImage],
    shapes: list[tuple[int, int]],
    file: Callable[[ListedImage], Path | None],
) -> PixelMaps:
    return PixelMaps.allocate(shapes, [file(entry) is not None for entry in entries])


def _files(entry: ListedImage) -> Iterator[Path]:
    """Yield the files of an image: itself, its mask, its context mask."""
    for path in (entry.image, entry.mask, entry.context):
        if path is not None:
            yield path


def _fill(maps: PixelMaps, index: int, values: np.ndarray, path: Path) -> np.ndarray:
    """Store a decoded map in the place that its header's size made for it; return the place."""
    view = maps[index]
    if view is None or view.shape != values.shape:
        raise InputError(f"{path}: changed while it was read")
    view[...] = values
    return view
