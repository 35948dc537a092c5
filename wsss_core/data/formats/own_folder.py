"""The product's own layout as a format, so that such a set can be mixed with others."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_core.data.folder import FolderSource, find_classes
from wsss_core.data.folder.layout import LABELS
from wsss_core.data.folder.likely_names import LIKELY_NAMES
from wsss_core.data.folder.origins import read_flags
from wsss_core.data.folder.training_masks import list_training_masks
from wsss_core.data.formats.common.contents import (
    EmptyMask,
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    MaskMaker,
    Picture,
)
from wsss_core.data.formats.common.mask_values import MaskFile, Meaning, meaning_of_values
from wsss_core.data.formats.common.source_files import subfolders
from wsss_core.data.image_decoding import PictureFile
from wsss_core.data.image_set import SPLITS
from wsss_core.data.mask_decoding import MaskMeaning, decode_mask
from wsss_core.errors import InputError

_PAIRS = ("images", *LIKELY_NAMES["images"], *LIKELY_NAMES["masks"])


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
    splits = _splits(path)
    if "train" not in splits or "test" not in splits:
        return None
    if not all((path / split / "masks").is_dir() for split in splits if split != "train"):
        return None
    # Pairs of images and masks look alike but for folders of classes, or a table of labels.
    plain = {folder.name.casefold() for folder in subfolders(path / "train")} - {"masks"}
    if not (path / "train" / LABELS).is_file() and (not plain or plain & set(_PAIRS)):
        return None
    whole = len(splits) == len(SPLITS)
    return "train, tune and test with masks" if whole else "train by class, and test with masks"


def _splits(path: Path) -> list[str]:
    return [split for split in SPLITS if (path / split).is_dir()]


def read_own_folder(path: Path, options: FormatOptions) -> FormatContent:
    """Read a data folder as `wsss_core.data.folder` describes it; it may lack tune.

    Raises:
        InputError: a folder is missing, files do not belong together, or classes, values and
            threshold do not fit.

    """
    source = FolderSource(path, threshold=options.threshold)
    listed_images = {split: source.images(split) for split in _splits(path)}
    drawn = list_training_masks(path / "train", listed_images["train"], find_classes(path))
    told = _told(source, options)
    classes = told.classes if told else source.classes
    images = []
    for split in listed_images:
        flags = read_flags(path, split, {image.identifier for image in listed_images[split]})
        for listed in listed_images[split]:
            picture = Picture(listed.image)
            held = frozenset(source.classes[index] for index in listed.train_classes)
            file = listed.mask or (drawn.get(listed.identifier) if split == "train" else None)
            mask, context = (
                None if path is None else _mask_of(path, told, source)
                for path in (file, listed.context)
            )
            if file is None and not held:
                mask = EmptyMask(picture)
            images.append(
                FormatImage(
                    name=f"{split}/{Path(listed.identifier).with_suffix('').as_posix()}",
                    picture=picture,
                    split=split,
                    labels=Labels(held) if listed.mask is None else None,
                    mask=mask,
                    group=None if listed.group == listed.identifier else listed.group,
                    camera=listed.camera or None,
                    flags=flags.get(listed.identifier, ()),
                    source=listed.source or None,
                    context=context,
                )
            )
    ordered = tuple(sorted(images, key=lambda image: image.name))
    return FormatContent(classes, ordered)


def _mask_of(path: Path, told: Meaning | None, source: FolderSource) -> MaskMaker:
    return MaskFile(path, told) if told else FolderMask(path, source.meaning)


def _told(source: FolderSource, options: FormatOptions) -> Meaning | None:
    """Return the meaning that `--values` gives to masks, or None."""
    if options.values is None:
        return None
    meaning = meaning_of_values(options.values)
    if missing := sorted(set(source.classes) - set(meaning.classes)):
        raise InputError(
            f"{source.root}: --values names no mask value of class {', '.join(missing)}"
        )
    return meaning


FOLDER = Format(
    "folder",
    "train, tune, test as in README",
    _recognise,
    read_own_folder,
    uses=("values", "threshold"),
)
