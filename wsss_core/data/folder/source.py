"""A data set of image and mask files in a folder, laid out as `layout` describes."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder.check import DataSummary, summarise_folder
from wsss_core.data.folder.layout import (
    LABELS,
    FolderClasses,
    ListedImage,
    find_classes,
    list_split,
)
from wsss_core.data.image_decoding import image_shape, read_mask_values, read_rgb
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, PixelMaps
from wsss_core.errors import InputError, checked_path


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

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes, in the order of their mask values."""
        return self._classes.names

    def images(self, split: str) -> list[ListedImage]:
        """Return the images of a split and their files, sorted by identifier; opens none.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        return list_split(self.root, split, self._classes)

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes and names of the split's images, masks and context masks, the classes,
        their mask values where there are masks, and the groups. Where the data folder lies, dates
        and unrelated files do not matter.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        images = self.images(split)
        files = [
            path
            for entry in images
            for path in (entry.image, entry.mask, entry.context)
            if path is not None
        ]
        folder = self.root / split
        names = [path.relative_to(folder).as_posix() for path in files]
        content: dict[str, object] = {
            "classes": self.classes,
            "mask_values": None if split == "train" else self._classes.mask_values,
            "files": sorted(zip(names, file_hashes(files), strict=True)),
            "groups": [
                (entry.identifier, entry.group)
                for entry in images
                if entry.group != entry.identifier
            ],
        }
        if (folder / LABELS).exists():
            # Class folders show in the names of the files, lines of a table do not.
            content["labels"] = [(entry.identifier, entry.train_classes) for entry in images]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def read(self, split: str, size: int) -> ImageSet:
        """Decode a split: images of size x size pixels, masks at their own resolution.

        The label of a training image is its folder or its line in labels.csv, that of the others
        what their mask holds.
        Full-size images are held only while they are being decoded, one per thread.

        Raises:
            InputError: the first bad file by identifier: sizes that differ, then unreadable
                files and mask values.

        """
        if size < 1:
            raise ValueError(f"size {size}, expected at least 1 pixel")
        entries = self.images(split)
        images = np.empty((len(entries), size, size, 3), np.uint8)
        labels = np.zeros((len(entries), len(self.classes)), np.bool_)
        with ThreadPoolExecutor() as pool:
            shapes = list(pool.map(_common_shape, entries))
            masks = _allocate(entries, shapes, lambda entry: entry.mask)
            contexts = _allocate(entries, shapes, lambda entry: entry.context)

            def decode(index: int) -> None:
                entry = entries[index]
                images[index] = read_rgb(entry.image, size)
                labels[index, list(entry.train_classes)] = True
                mask, context = masks[index], contexts[index]
                if entry.mask is not None and mask is not None:
                    mask[...] = _class_indices(entry.mask, self._classes)
                    present = np.bincount(mask.ravel(), minlength=IGNORED + 1) > 0
                    labels[index] = present[1 : len(self.classes) + 1]
                if entry.context is not None and context is not None:
                    context[...] = _class_indices(entry.context, self._classes)

            for _ in pool.map(decode, range(len(entries))):
                pass
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
            masks=None if split == "train" else masks,
            contexts=contexts if any(entry.context for entry in entries) else None,
        )

    def check(self) -> DataSummary:
        """Read everything once and describe it.

        Raises:
            InputError: the first thing that is wrong, split by split.

        """
        listed = {split: self.images(split) for split in SPLITS}
        return summarise_folder(self, listed, counts_every_value=self._classes.mask_values is None)


def _common_shape(entry: ListedImage) -> tuple[int, int]:
    """Return (height, width) of an image, which its mask and context mask must share."""
    height, width = image_shape(entry.image)
    for path in (entry.mask, entry.context):
        if path is not None and (other := image_shape(path)) != (height, width):
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


def _class_indices(path: Path, classes: FolderClasses) -> np.ndarray:
    """Read a mask as 0 (background), k + 1 (class k) and 255 (ignored), [h, w]."""
    values = read_mask_values(path)
    if classes.mask_values is None:
        return values > 0
    known = {0: 0, IGNORED: IGNORED} | {
        value: index + 1 for index, value in enumerate(classes.mask_values)
    }
    unknown = ~np.isin(values, list(known))
    if unknown.any():
        raise InputError(
            f"{path}: mask value {values[unknown].min()}, expected one of "
            f"{', '.join(str(value) for value in sorted(known))}"
        )
    table = np.zeros(IGNORED + 1, np.uint8)
    table[list(known)] = list(known.values())
    return table[values]
