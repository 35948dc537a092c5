"""The product's own layout as a format, so that such a set can be mixed with others."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_core.data.folder import FolderSource
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.source_files import subfolders
from wsss_core.data.image_decoding import PictureFile
from wsss_core.data.image_set import SPLITS
from wsss_core.data.mask_decoding import MaskMeaning, decode_mask


@dataclass(frozen=True)
class FolderMask:
    """A mask of a data folder.

    Attributes:
        path: the file.
        meaning: what its values mean.

    """

    path: Path
    meaning: MaskMeaning

    def read(self) -> np.ndarray:
        """Decode the mask, see `MaskMaker.read`."""
        return decode_mask(PictureFile.read(self.path), self.meaning, scored=False).codes


def _recognise(path: Path) -> str | None:
    if not all((path / split).is_dir() for split in SPLITS):
        return None
    has_masks = all((path / split / "masks").is_dir() for split in ("tune", "test"))
    return "train, tune and test with masks" if has_masks and subfolders(path / "train") else None


def read_own_folder(path: Path, options: FormatOptions) -> FormatContent:
    """Read a data folder as `wsss_core.data.folder` describes it.

    Raises:
        InputError: a folder is missing or files do not belong together.

    """
    source = FolderSource(path, threshold=options.threshold)
    images = []
    for split in SPLITS:
        for listed in source.images(split):
            picture = Picture(listed.image)
            held = frozenset(source.classes[index] for index in listed.train_classes)
            clear = listed.mask is None and not held
            images.append(
                FormatImage(
                    name=f"{split}/{Path(listed.identifier).with_suffix('').as_posix()}",
                    picture=picture,
                    split=split,
                    labels=Labels(held) if listed.mask is None else None,
                    mask=EmptyMask(picture)
                    if clear
                    else None
                    if listed.mask is None
                    else FolderMask(listed.mask, source.meaning),
                    group=None if listed.group == listed.identifier else listed.group,
                )
            )
    ordered = tuple(sorted(images, key=lambda image: image.name))
    return FormatContent(source.classes, ordered)


FOLDER = Format("folder", "train, tune, test as in README", _recognise, read_own_folder)
