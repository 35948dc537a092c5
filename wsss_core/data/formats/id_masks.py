"""Masks that hold numbers of classes: CamVid as SegNet distributes it, Cityscapes, ADE20K.

Each is a layout of pairs with values that are known, or named in a file of the set.
"""

import re
from dataclasses import replace
from pathlib import Path

from wsss_core.data.formats.common.contents import (
    BACKGROUND_NAME,
    IGNORE_NAME,
    Format,
    FormatContent,
    FormatOptions,
)
from wsss_core.data.formats.common.source_files import SPLIT_WORDS, subfolders
from wsss_core.data.formats.pairs import MEANING_OPTIONS, PairLayout, read_pairs
from wsss_core.errors import InputError, check_printable
from wsss_core.text_files import read_text

CAMVID_VALUES = dict(
    enumerate(
        (
            *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
            *("pedestrian", "bicyclist", IGNORE_NAME),
        )
    )
)
"""CamVid's eleven classes in SegNet's order; 11 is void."""

CITYSCAPES_VALUES = dict(
    enumerate(
        (
            *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light"),
            *("traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
            *("bus", "train", "motorcycle", "bicycle"),
        )
    )
) | {255: IGNORE_NAME}
"""Cityscapes' nineteen classes by their training id."""

_CITYSCAPES_IDS = dict(
    zip(
        (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
        list(CITYSCAPES_VALUES.values()),
        strict=False,
    )
)
"""The same by `labelIds`; the other ids are not evaluated."""

_LIST_BYTES = 2**20
_SEQUENCE = re.compile(r"(Seq\d+VD|\d{4}[A-Z0-9]{2})_")


def _camvid_splits(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    names = {folder.name for folder in subfolders(path)}
    return sorted(name for name in names & set(SPLIT_WORDS) if f"{name}annot" in names)


def _recognise_camvid(path: Path) -> str | None:
    splits = _camvid_splits(path)
    return f"{', '.join(splits)} beside {splits[0]}annot" if splits else None


def read_camvid(path: Path, options: FormatOptions) -> FormatContent:
    """Read CamVid as SegNet distributes it; its videos are the groups.

    Raises:
        InputError: see `read_pairs`.

    """
    layout = PairLayout("{split}/{stem}.*", ("{split}annot/{stem}.*",), "")
    content = read_pairs(path, options, layout, CAMVID_VALUES)
    images = []
    for image in content.images:
        found = _SEQUENCE.match(image.picture.path.stem)
        images.append(replace(image, group=found[1] if found else None))
    return replace(content, images=tuple(images))


def _recognise_cityscapes(path: Path) -> str | None:
    both = (path / "leftImg8bit").is_dir() and (path / "gtFine").is_dir()
    return "leftImg8bit and gtFine" if both else None


def read_cityscapes(path: Path, options: FormatOptions) -> FormatContent:
    """Read Cityscapes' fine masks, by training ids where there are some; cities are the groups.

    Raises:
        InputError: see `read_pairs`.

    """
    images = "leftImg8bit/{split}/{group}/{stem}_leftImg8bit.*"
    masks = "gtFine/{split}/{group}/{stem}_gtFine_"
    if any((path / "gtFine").glob("*/*/*_labelTrainIds.png")):
        return read_pairs(
            path, options, PairLayout(images, (f"{masks}labelTrainIds.png",), ""), CITYSCAPES_VALUES
        )
    values = {value: _CITYSCAPES_IDS.get(value, IGNORE_NAME) for value in [*range(34), 255]}
    return read_pairs(path, options, PairLayout(images, (f"{masks}labelIds.png",), ""), values)


def _recognise_ade(path: Path) -> str | None:
    parts = [path / kind / "training" for kind in ("images", "annotations")]
    both = all(part.is_dir() for part in parts) and (path / "objectInfo150.txt").is_file()
    return "images/training, annotations/training, objectInfo150.txt" if both else None


def read_ade(path: Path, options: FormatOptions) -> FormatContent:
    """Read ADE20K's scene parsing set; 0 is "other" there, and ignored as its benchmark does.

    Raises:
        InputError: objectInfo150.txt does not list the classes; and see `read_pairs`.

    """
    file = path / "objectInfo150.txt"
    values = {0: IGNORE_NAME}
    for number, line in enumerate(read_text(file, _LIST_BYTES).splitlines(), start=1):
        parts = line.split("\t")
        if not parts[0].strip().isdecimal():
            continue  # the header
        name = parts[-1].split(",")[0].strip()
        if len(parts) < 2 or not name or name == BACKGROUND_NAME:
            raise InputError(f"{file}, line {number}: expected a number and a name behind tabs")
        check_printable(name, str(file), allowed="")
        # Two classes of ADE20K are called "screen"; their numbers tell them apart.
        value = int(parts[0])
        values[value] = f"{name} {value}" if name in values.values() else name
    layout = PairLayout("images/{split}/{stem}.*", ("annotations/{split}/{stem}.png",), "")
    return read_pairs(path, options, layout, values)


CAMVID = Format(
    "camvid", "{split} beside {split}annot", _recognise_camvid, read_camvid, uses=MEANING_OPTIONS
)
CITYSCAPES = Format(
    "cityscapes",
    "leftImg8bit, gtFine",
    _recognise_cityscapes,
    read_cityscapes,
    uses=MEANING_OPTIONS,
)
ADE = Format(
    "ade20k",
    "images/training, annotations/training",
    _recognise_ade,
    read_ade,
    uses=MEANING_OPTIONS,
)
