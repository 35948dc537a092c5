"""How a folder that is no data folder becomes one: the layout it has, and the command to type."""

import shlex
from pathlib import Path

from wsss_core.data.folder.likely_names import LIKELY_NAMES, meant_by
from wsss_core.data.formats import SPLIT_WORDS, recognise
from wsss_core.data.formats.own_folder import FOLDER
from wsss_core.data.formats.pairs import PAIRS
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError


def import_hint(root: Path) -> str:
    """Return '; ...' with the recognised layout and the command that imports it, or nothing.

    Args:
        root: a folder or file that is not laid out as a data folder.

    """
    try:
        found = recognise(root)
    except InputError:
        return ""
    if found.format is FOLDER:
        if (root / "tune").is_dir() or any((root / word).is_dir() for word in LIKELY_NAMES["tune"]):
            return ""
        command = f"wsss data import {shlex.quote(str(root))} DATA --tune test:0.3"
        return f"; `{command}` makes a data folder whose tune is cut from test"
    if found.format is PAIRS and _is_by_class(root):
        return ""  # its images of train have no masks, so it is no set of pairs
    command = f"wsss data import {shlex.quote(str(root))} DATA{_splits(root)}"
    return f"; its layout is {found.format.name} ({found.why}): `{command}` makes a data folder"


def _is_by_class(root: Path) -> bool:
    """Return whether train/ holds folders of classes, as a data folder does."""
    train = root / "train"
    names = {entry.name for entry in train.iterdir() if entry.is_dir()} if train.is_dir() else set()
    return bool(names) and not any(
        name == word or meant_by(name, word) for name in names for word in ("images", "masks")
    )


def _splits(root: Path) -> str:
    """Return the option that cuts a tune split where no folder is called like one."""
    if not root.is_dir():
        return ""
    named = {SPLIT_WORDS.get(entry.name.lower()) for entry in root.iterdir() if entry.is_dir()}
    return " --tune 0.1" if "train" in named and "tune" not in named else ""


def misses_a_split(root: Path) -> bool:
    """Return whether a folder lacks one of the folders train, tune and test."""
    return not all((root / split).is_dir() for split in SPLITS)
