"""Masks of training images, which weak supervision does not use.

`train/masks/<class>/x.png` belongs to `train/<class>/x.jpg`, and `train/masks/x.png` to
`train/images/x.jpg`. Clear images have none, and any other image may lack one. Fully supervised
references read them; classifiers, CAMs and fingerprints of training images do not.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_core.data.file_hashes import content_hash, file_hashes
from wsss_core.data.folder.class_list import FolderClasses
from wsss_core.data.folder.folder_files import composed_form, listed_files
from wsss_core.data.folder.layout import (
    CLEAR,
    LABELS,
    TRAINING_MASKS,
    ListedImage,
    mask_suffixes,
)
from wsss_core.data.image_decoding import PictureFile, image_shape
from wsss_core.data.mask_decoding import mask_shape
from wsss_core.data.pixel_rules import AS_STORED, PixelRules
from wsss_core.errors import InputError

MaskDecoder = Callable[[PictureFile], np.ndarray]
"""Decodes a mask to 0 for the background, k + 1 for class k, 255 for ignored pixels, [h, w]."""


@dataclass(frozen=True)
class TrainingMask:
    """The mask of a training image, decoded when it is asked for.

    Attributes:
        identifier: the training image's.
        path: the mask file; of a set that is read in place, the image.
        decode: decodes it: 0 background, k + 1 class k, 255 ignored, [h, w].
        size: the side of the decoded mask in pixels; None: its own height and width.

    """

    identifier: str
    path: Path
    decode: Callable[[], np.ndarray] = field(repr=False)
    size: int | None = None

    def read(self) -> np.ndarray:
        """Decode the mask; a side in pixels is reached by the nearest pixel.

        Returns:
            uint8 [h, w]: 0 background, k + 1 class k, 255 ignored.

        Raises:
            InputError: the file cannot be read or holds a value that is not listed.

        """
        codes = self.decode().astype(np.uint8)
        if self.size is None:
            return codes
        sides = (self.size, self.size)
        return np.asarray(Image.fromarray(codes).resize(sides, Image.Resampling.NEAREST))


def list_training_masks(
    train: Path, images: Sequence[ListedImage], classes: FolderClasses
) -> Mapping[str, Path]:
    """Return identifier -> mask file of the training images that have one; opens no file.

    Args:
        train: the folder `train`.
        images: the training images.
        classes: of the data folder.

    Raises:
        InputError: a mask has no image, belongs to a clear image, or lies in no class folder.

    """
    folder = train / TRAINING_MASKS
    if not folder.is_dir():
        return {}
    stems = {
        composed_form(Path(image.identifier).with_suffix("").as_posix()): image for image in images
    }
    if (train / LABELS).exists():
        return _paired({"images": listed_files(folder, mask_suffixes(folder))}, stems, train)
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir() or entry.name not in classes.names:
            reason = "clear images have no mask; " if entry.name == CLEAR else ""
            raise InputError(
                f"{entry}: {reason}expected masks of training images in folders of their classes: "
                f"{', '.join(classes.names)}"
            )
        found[entry.name] = listed_files(entry, mask_suffixes(entry))
    return _paired(found, stems, train)


def _paired(
    found: Mapping[str, Mapping[str, Path]], stems: Mapping[str, ListedImage], train: Path
) -> dict[str, Path]:
    masks = {}
    for folder, files in found.items():
        for stem, path in files.items():
            image = stems.get(f"{folder}/{stem}")
            if image is None:
                raise InputError(
                    f"{path}: mask without its training image, expected "
                    f"{train / folder / stem}.jpg or alike"
                )
            masks[image.identifier] = path
    return masks


def open_training_masks(
    train: Path,
    images: Sequence[ListedImage],
    classes: FolderClasses,
    decode: MaskDecoder,
    size: int | None = None,
    rules: PixelRules = AS_STORED,
) -> dict[str, TrainingMask]:
    """Return identifier -> mask of the training images that have one, sorted by identifier.

    Sizes are compared by the files' headers; no mask is decoded.

    Args:
        train: the folder `train`.
        images: the training images, sorted by identifier.
        classes: of the data folder.
        decode: decodes a mask of the data folder.
        size: the side of the decoded masks in pixels; None: their own height and width.
        rules: how the pixels of images and masks are read.

    Raises:
        InputError: as `list_training_masks`; or a mask is not as large as its image.

    """
    paths = list_training_masks(train, images, classes)
    masked = [image for image in images if image.identifier in paths]

    def check(image: ListedImage) -> None:
        path = paths[image.identifier]
        height, width = image_shape(image.image, rules)
        if (other := mask_shape(path, rules)) != (height, width):
            raise InputError(
                f"{path}: {other[1]}x{other[0]} pixels, expected {width}x{height} as its training "
                f"image {image.image}"
            )

    with ThreadPoolExecutor() as pool:
        list(pool.map(check, masked))
    return {
        name: TrainingMask(name, paths[name], partial(_read, paths[name], decode), size)
        for name in (image.identifier for image in masked)
    }


def fingerprint_of_masks(masks: Mapping[str, TrainingMask], meaning: object) -> str:
    """Return a digest (128 bit, hexadecimal) of mask files and of how they are read.

    Args:
        masks: by identifier.
        meaning: JSON-able values that decide what the files' values mean.

    Raises:
        InputError: a file cannot be read.

    """
    digests = file_hashes([mask.path for mask in masks.values()])
    content = [meaning, list(zip(masks, digests, strict=True))]
    return content_hash(json.dumps(content).encode())


def _read(path: Path, decode: MaskDecoder) -> np.ndarray:
    return decode(PictureFile.read(path))
