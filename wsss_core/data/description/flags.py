"""Flags of images: words such as "night", "rain" or "weak" that tell images apart.

`attributes.csv` in the data folder has columns `file` (a path such as `train/smoke/a.jpg`) and
`flags`, separated by ";". A folder that `wsss data import` wrote has them in `images.csv` too.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from wsss_core.data.folder.origins import (
    imported_rows,
    raise_unless_image,
    split_and_identifier,
)
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, quoted
from wsss_core.text_files import read_csv

ATTRIBUTES = "attributes.csv"


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


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(";") if word.strip()}
