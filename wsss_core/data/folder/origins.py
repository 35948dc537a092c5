"""Where the images of a data folder come from: frame, source and camera of each.

`groups.csv` has a line for an image: columns `file` and `group`, and optionally `source` and
`camera`. A folder that `wsss data import` wrote names source and camera in `images.csv` too.

`attributes.csv` has columns `file` (a path such as `train/smoke/a.jpg`) and `flags`, separated by
";": words such as "night", "rain" or "weak" that tell images apart. A folder that `wsss data
import` wrote has them in `images.csv` too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss_core.data.folder.folder_files import composed_form
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, nearest, quoted
from wsss_core.text_files import read_csv

GROUPS = "groups.csv"

ATTRIBUTES = "attributes.csv"

IMPORT_RECORD = "import.json"
"""The record of an import, which marks a folder as one that `wsss data import` wrote."""

IMAGES = "images.csv"
"""The table of an import with a line for each image."""


@dataclass(frozen=True)
class ImageOrigin:
    """Where an image comes from; each is "" where that is unknown.

    Attributes:
        group: the frame, clip or patient that it was taken from.
        source: the data set that it belongs to.
        camera: the camera or place.

    """

    group: str = ""
    source: str = ""
    camera: str = ""


_KINDS = ("group", "source", "camera")


def read_origins(root: Path, split: str, identifiers: Collection[str]) -> Mapping[str, ImageOrigin]:
    """Return identifier -> origin for the images of a split that the tables list.

    Args:
        root: the data folder.
        split: "train", "tune" or "test".
        identifiers: of its images, in Unicode's composed form.

    Raises:
        InputError: `groups.csv` names an image that is not there, gives an image two origins, or
            says nothing about it.

    """
    table = root / GROUPS
    found: dict[str, dict[str, str]] = {}
    told: set[str] = set()
    if table.exists():
        for line, row in read_csv(table, ("file", "group"), ("source", "camera")):
            told |= row.keys()
            where = f"{table}, line {line}: file {quoted(row['file'])}"
            first, identifier = split_and_identifier(row["file"])
            given = {kind: row.get(kind, "").strip() for kind in _KINDS}
            if first not in SPLITS or not any(given.values()):
                raise InputError(
                    f"{where} and group {quoted(row['group'])}, expected a path such as "
                    "test/images/a.jpg and the name of its frame"
                )
            if first != split:
                continue
            raise_unless_image(where, identifier, root / split, identifiers)
            for kind, before in found.setdefault(identifier, given).items():
                if before != given[kind]:
                    raise InputError(f"{where} has two {kind}s, expected one")
    for identifier, row in imported_rows(root, split, "source"):
        if identifier in identifiers:
            origin = found.setdefault(identifier, dict.fromkeys(_KINDS, ""))
            origin |= {kind: row.get(kind, "") for kind in ("source", "camera") if kind not in told}
    return {identifier: ImageOrigin(**origin) for identifier, origin in found.items()}


def split_and_identifier(file: str) -> tuple[str, str]:
    """Return the split and the identifier, in Unicode's composed form, of a path in a table."""
    first, _, identifier = file.replace("\\", "/").partition("/")
    return first, composed_form(identifier)


def raise_unless_image(
    where: str, identifier: str, folder: Path, identifiers: Collection[str]
) -> None:
    """Raise InputError, which begins with `where`, unless a split's folder has the image."""
    if identifier not in identifiers:
        near = nearest(identifier, identifiers)
        hint = f"; nearest: {near!r}" if near else ""
        raise InputError(f"{where} is no image of {folder}{hint}")


def imported_rows(root: Path, split: str, column: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield identifier and line of a split's images in the table of an import, if it is one."""
    if not ((root / IMPORT_RECORD).is_file() and (root / IMAGES).is_file()):
        return
    for _, row in read_csv(root / IMAGES, ("file", column)):
        first, identifier = split_and_identifier(row["file"])
        if first == split:
            yield identifier, row


def read_flags(
    root: Path, split: str, identifiers: Collection[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return identifier -> flags, sorted, for the images of a split that have any.

    Args:
        root: the data folder.
        split: "train", "tune" or "test".
        identifiers: of its images, in Unicode's composed form.

    Raises:
        InputError: `attributes.csv` names an image that is not there, or an image twice.

    """
    found: dict[str, set[str]] = defaultdict(set)
    for identifier, row in imported_rows(root, split, "flags"):
        if identifier in identifiers:
            found[identifier] |= _words(row["flags"])
    table = root / ATTRIBUTES
    seen: dict[tuple[str, str], int] = {}
    for line, row in read_csv(table, ("file", "flags")) if table.exists() else ():
        where = f"{table}, line {line}: file {quoted(row['file'])}"
        file = first, identifier = split_and_identifier(row["file"])
        if first not in SPLITS:
            raise InputError(f"{where}, expected a path such as train/smoke/a.jpg")
        if file in seen:
            raise InputError(f"{where} is listed twice, first in line {seen[file]}")
        seen[file] = line
        if first == split:
            raise_unless_image(where, identifier, root / split, identifiers)
            found[identifier] |= _words(row["flags"])
    return {identifier: tuple(sorted(flags)) for identifier, flags in found.items() if flags}


def flags_of(root: Path, split: str, identifiers: Sequence[str]) -> tuple[str, ...]:
    """Return the flags of each image, separated by ";"; of none where they cannot be read.

    The check of the folder warns of tables that cannot be read.
    """
    try:
        found = read_flags(root, split, set(identifiers))
    except InputError:
        found = {}
    return tuple(";".join(found.get(identifier, ())) for identifier in identifiers)


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(";") if word.strip()}
