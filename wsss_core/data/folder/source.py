"""A data set of image and mask files in a folder, laid out as `layout` describes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder.check import DataSummary, summarise_folder
from wsss_core.data.folder.layout import (
    LABELS,
    FolderClasses,
    ListedImage,
    find_classes,
)
from wsss_core.data.folder.listing import list_split
from wsss_core.data.folder.training_masks import TrainingMask, open_training_masks
from wsss_core.data.image_decoding import (
    MASK_FORMATS,
    PictureFile,
    image_shape,
    read_mask_values,
    read_rgb,
)
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, PixelMaps
from wsss_core.errors import InputError, as_input_error, checked_path


class FolderSource:
    """The splits of a data folder, as an `ImageSource`; for the layout see `layout`.

    Args:
        root: the data folder.

    Raises:
        InputError: there is no such folder, or its classes are not clear.

    """

    def __init__(self, root: Path) -> None:
        self.root = checked_path(root)
        self._classes = find_classes(self.root)
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

    def decode(self, mask: Path) -> np.ndarray:
        """Decode a mask or context mask: 0 background, k + 1 class k, 255 ignored, [h, w]."""
        return _class_indices(PictureFile.read(mask), self._classes)

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes and names of the split's images, masks and context masks, the classes,
        their mask values where there are masks, groups, sources and cameras. Masks of training
        images, where the data folder lies, dates and unrelated files do not matter.

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
            shapes = list(pool.map(_common_shape, entries))
            masks = _allocate(entries, shapes, lambda entry: entry.mask)
            contexts = _allocate(entries, shapes, lambda entry: entry.context)

            def decode(index: int) -> dict[Path, str]:
                entry = entries[index]
                file = PictureFile.read(entry.image)
                images[index] = read_rgb(file, size)
                labels[index, list(entry.train_classes)] = True
                read = {entry.image: file.digest}
                for path, maps in ((entry.mask, masks), (entry.context, contexts)):
                    if path is None:
                        continue
                    file = PictureFile.read(path)
                    read[path] = file.digest
                    filled = _fill(maps, index, _class_indices(file, self._classes), path)
                    if maps is masks:
                        present = np.bincount(filled.ravel(), minlength=IGNORED + 1) > 0
                        labels[index] = present[1 : len(self.classes) + 1]
                return read

            digests: dict[Path, str] = {}
            for read in pool.map(decode, range(len(entries))):
                digests |= read
        self._check_unchanged(split, entries, digests)
        if split != "train" and not labels.any():
            raise InputError(
                f"{self.root / split / 'masks'}: every mask is empty, expected at least one with "
                f"{' or '.join(self.classes)}"
            )
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
        decode = partial(_class_indices, classes=self._classes)
        images = self.images("train")
        return open_training_masks(self.root / "train", images, self._classes, decode, size)

    def check(self) -> DataSummary:
        """Read everything once and describe it.

        Raises:
            InputError: the first thing that is wrong, split by split.

        """
        listed = {split: self.images(split) for split in SPLITS}
        self.training_masks()
        return summarise_folder(self, listed, counts_every_value=self._classes.mask_values is None)


def _common_shape(entry: ListedImage) -> tuple[int, int]:
    """Return (height, width) of an image, which its mask and context mask must share."""
    height, width = image_shape(entry.image)
    for path in (entry.mask, entry.context):
        if path is not None and (other := image_shape(path, MASK_FORMATS)) != (height, width):
            raise InputError(
                f"{path}: {other[1]}x{other[0]} pixels, expected {width}x{height} "
                f"as its image {entry.image}"
            )
    return height, width


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


def _class_indices(file: PictureFile, classes: FolderClasses) -> np.ndarray:
    """Decode a mask as 0 (background), k + 1 (class k) and 255 (ignored), [h, w]."""
    values = read_mask_values(file)
    if classes.mask_values is None:
        return values > 0
    known = {0: 0, IGNORED: IGNORED} | {
        value: index + 1 for index, value in enumerate(classes.mask_values)
    }
    unknown = ~np.isin(values, list(known))
    if unknown.any():
        raise InputError(
            f"{file.path}: mask value {values[unknown].min()}, expected one of "
            f"{', '.join(str(value) for value in sorted(known))}"
        )
    table = np.zeros(IGNORED + 1, np.uint8)
    table[list(known)] = list(known.values())
    return table[values]
