"""Which format a folder or file is of, by the names in it; nothing is decoded."""

from dataclasses import dataclass
from pathlib import Path

from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.formats.coco import COCO
from wsss_core.data.formats.common.contents import Format
from wsss_core.data.formats.common.source_files import subfolders
from wsss_core.data.formats.id_masks import ADE, CAMVID, CITYSCAPES
from wsss_core.data.formats.ijmond import IJMOND
from wsss_core.data.formats.own_folder import FOLDER
from wsss_core.data.formats.pairs import PAIRS
from wsss_core.data.formats.rise import RISE
from wsss_core.data.formats.rle_table import RLE_TABLE
from wsss_core.data.formats.smoke5k import SMOKE5K
from wsss_core.data.formats.voc import VOC
from wsss_core.data.formats.yolo import YOLO
from wsss_core.errors import InputError, nearest, quoted

FORMATS = (
    FOLDER,
    SMOKE5K,
    IJMOND,
    RISE,
    COCO,
    VOC,
    YOLO,
    RLE_TABLE,
    CAMVID,
    CITYSCAPES,
    ADE,
    PAIRS,
)
"""The formats, each read by one module of this package."""

_DEEPEST = 3  # folders that hold nothing but the next one, as archives unpack
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


@dataclass(frozen=True)
class Recognition:
    """What a source was taken for.

    Attributes:
        format: how it is read.
        path: the folder or file that is read; below the given one where that only wraps it.
        why: what it was recognised by.

    """

    format: Format
    path: Path
    why: str

    def describe(self) -> str:
        """Return one line."""
        return f"{self.path}: {self.format.name}, by {self.why}"


def format_named(name: str) -> Format:
    """Return a format by its name.

    Raises:
        InputError: there is none of this name.

    """
    for known in FORMATS:
        if known.name == name:
            return known
    names = [known.name for known in FORMATS]
    near = nearest(name, names)
    raise InputError(
        f"format {quoted(name)}, expected one of {', '.join(names)}"
        f"{f'; nearest: {near!r}' if near else ''}"
    )


def recognise(path: Path, wanted: str | None = None) -> Recognition:
    """Return the format of a source, and what it was recognised by.

    A folder that holds nothing but one folder is looked into. A general format is taken only where
    no specific one fits.

    Args:
        path: a folder, or an annotation file.
        wanted: the name of the format, which then is not asked for; the layout still has to fit,
            except for `pairs`, whose patterns may be given.

    Raises:
        InputError: there is no such path, no format fits, or several do.

    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder, expected a data set")
    if path.is_file() and path.suffix.lower() in _ARCHIVES:
        raise InputError(f"{path}: an archive; unpack it, then import the folder")
    asked = FORMATS if wanted is None else (format_named(wanted),)
    place = path
    for _ in range(_DEEPEST):
        found = _fitting(place, asked)
        if len(found) > 1:
            listed = "; ".join(f"{known.name}, by {why}" for known, why in found)
            raise InputError(f"{place}: may be {listed}; choose by --format")
        if found:
            return Recognition(found[0][0], place, found[0][1])
        inner = subfolders(place) if place.is_dir() else []
        if len(inner) != 1:
            break
        place = inner[0]
    if wanted == PAIRS.name:
        return Recognition(PAIRS, path, "patterns, or as asked for")
    if wanted is not None:
        raise InputError(f"{path}: not of format {wanted}, expected {asked[0].about}")
    raise InputError(_unknown(path))


def _fitting(place: Path, asked: tuple[Format, ...]) -> list[tuple[Format, str]]:
    for specific in (True, False):
        found = [
            (known, why)
            for known in asked
            if known.specific is specific and (why := known.recognise(place))
        ]
        hidden = {name for known, _ in found for name in known.instead_of}
        if found := [(known, why) for known, why in found if known.name not in hidden]:
            return found
    return []


def _unknown(path: Path) -> str:
    if path.is_file():
        return (
            f"{path}: no annotation file of a known format, expected COCO's or RISE's JSON, or a "
            "CSV file with ImageId and EncodedPixels"
        )
    held = [folder.name for folder in subfolders(path)[:8]]
    files = sum(1 for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    known = "; ".join(f"{known.name} ({known.about})" for known in FORMATS)
    return (
        f"{path}: no known layout; it holds the folders {', '.join(held) or 'none'} and {files} "
        f"images. Known: {known}. Other pairs of images and masks: --images and --masks with "
        "patterns"
    )
