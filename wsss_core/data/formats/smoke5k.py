"""SMOKE5K: {train,test}/{img,gt}, masks of 0 and 255 with the stems of their images.

Every image shows smoke. Training images whose names are two numbers (6_6090) are synthetic; they
bear the flag "synthetic". Four stems occur in both splits.
"""

import re
from pathlib import Path

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.common.contents import (
    Format,
    FormatContent,
    FormatImage,
    FormatOptions,
    Labels,
    Picture,
)
from wsss_core.data.formats.common.mask_values import (
    MASK_FILE_SUFFIXES,
    MaskFile,
    Meaning,
    find_meaning,
    meaning_of_values,
)
from wsss_core.data.formats.common.source_files import files_below, files_by_stem, tallied
from wsss_core.errors import InputError

SMOKE = "smoke"
_SPLITS = ("train", "test")
_SYNTHETIC = re.compile(r"\d+_\d+")


def _recognise(path: Path) -> str | None:
    found = [split for split in _SPLITS if all((path / split / n).is_dir() for n in ("img", "gt"))]
    return f"{' and '.join(found)} with img and gt" if found else None


def read_smoke5k(path: Path, options: FormatOptions) -> FormatContent:
    """Read the splits that are there; each image has its mask.

    Raises:
        InputError: an image has no mask or a mask no image, or masks hold more than one value and
            no threshold or values are given.

    """
    pairs = [
        (split, image, mask)
        for split in _SPLITS
        if (path / split / "img").is_dir()
        for image, mask in _pairs(path / split)
    ]
    if not pairs:
        raise InputError(f"{path}: no image in train/img or test/img, expected some")
    notes: tuple[str, ...] = ()
    if options.values is not None:
        meaning = meaning_of_values(options.values)
    elif options.threshold is not None:
        meaning = Meaning((SMOKE,), threshold=options.threshold)
    else:
        meaning, notes = find_meaning([mask for _, _, mask in pairs], SMOKE)
    images = [
        FormatImage(
            name=f"{split}/{image.stem}",
            picture=Picture(image),
            split=split,
            labels=Labels(frozenset({SMOKE})) if meaning.classes == (SMOKE,) else None,
            mask=MaskFile(mask, meaning),
            flags=("synthetic",) if _SYNTHETIC.fullmatch(image.stem) else (),
        )
        for split, image, mask in pairs
    ]
    ordered = tuple(sorted(images, key=lambda image: image.name))
    return FormatContent(meaning.classes, ordered, notes)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    images = files_by_stem(files_below(folder / "img", IMAGE_SUFFIXES, deep=False))
    masks = files_by_stem(files_below(folder / "gt", MASK_FILE_SUFFIXES, deep=False))
    for one, other, said in (
        (images, masks, f"images have no mask in {folder / 'gt'}"),
        (masks, images, f"masks have no image in {folder / 'img'}"),
    ):
        if alone := sorted(set(one) - set(other)):
            raise InputError(f"{tallied(len(alone), said, one[alone[0]])}, expected pairs")
    return [(images[stem], masks[stem]) for stem in sorted(images)]


SMOKE5K = Format(
    "smoke5k", "{train,test}/{img,gt}", _recognise, read_smoke5k, uses=("values", "threshold")
)
