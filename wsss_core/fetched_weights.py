"""Weights that were fetched ahead into one folder, for machines without a network.

`wsss weights fetch` fills the folder; whoever loads weights by a name asks here first. An entry, a
file or a folder of files, is called NAME.DIGEST, so that a copy of the folder needs no index.
"""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path

from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError, checked_path
from wsss_core.whole_files import sync_folder

WEIGHTS_FOLDER = "WSSS_WEIGHTS"
"""Environment variable: the folder. Where it is set, the hub is never asked [~/.cache/wsss/weights,
and then the hub]."""

_DEFAULT = "~/.cache/wsss/weights"


def weights_folder() -> Path:
    """Return the folder of fetched weights, which need not exist."""
    return checked_path(os.environ.get(WEIGHTS_FOLDER, _DEFAULT))


def is_offline() -> bool:
    """Return whether the environment names the folder: then it is the only place to look."""
    return WEIGHTS_FOLDER in os.environ


def fetched(name: str) -> Path | None:
    """Return the file or folder of weights of a name, or None to ask the hub.

    Its content is not compared with its digest, see `checked`.

    Args:
        name: "vit_tiny_patch16_224.augreg_in21k_ft_in1k", or a hub's "facebook/sam-vit-base".

    Raises:
        InputError: the environment names a folder, and it lacks these weights; or there are two.

    """
    folder = weights_folder()
    found = fetched_in(folder, name)
    if found is None and is_offline():
        raise InputError(
            f"{WEIGHTS_FOLDER}={folder} does not hold {name}; fetch it where there is a network: "
            f"wsss weights fetch STUDY --to {folder}"
        )
    return found


def fetched_in(folder: Path, name: str) -> Path | None:
    """Return the entry of a name in a folder of weights, if there is one.

    Raises:
        InputError: there are two.

    """
    found = _entries(folder, name)
    if len(found) > 1:
        named = " and ".join(entry.name for entry in found)
        raise InputError(f"{folder} holds {name} more than once: {named}; delete all but one")
    return found[0] if found else None


def checked(entry: Path) -> Path:
    """Return an entry whose content is what its digest says.

    Raises:
        InputError: it is not; or a file cannot be read.

    """
    if f".{digest_of(entry)}" not in entry.name:
        raise InputError(
            f"{entry} is not what was fetched: its content differs from the digest in its name; "
            "delete it and fetch it again"
        )
    return entry


def digest_of(entry: Path) -> str:
    """Return the digest of a file, or of a folder's files with their names."""
    if not entry.is_dir():
        return file_hashes([entry])[0]
    files = sorted(file for file in entry.iterdir() if file.is_file())
    lines = [f"{file.name} {one}" for file, one in zip(files, file_hashes(files), strict=True)]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def keep(source: Path, name: str, folder: Path) -> Path:
    """Copy a file or a folder of files into a folder of weights, whole or not at all.

    Other entries of the same name are replaced.

    Args:
        source: what to copy; links are followed.
        name: see `fetched`.
        folder: the folder of weights.

    Returns:
        The entry.

    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "" if source.is_dir() else "".join(source.suffixes[-1:])
    entry = folder / f"{_plain(name)}.{digest_of(source)}{suffix}"
    if not entry.exists() or f".{digest_of(entry)}" not in entry.name:
        _remove(entry)
        unfinished = folder / f".{uuid.uuid4().hex}.tmp"
        try:
            if source.is_dir():
                shutil.copytree(source, unfinished)
            else:
                shutil.copyfile(source, unfinished)
            for file in unfinished.iterdir() if unfinished.is_dir() else [unfinished]:
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            unfinished.rename(entry)
        finally:
            _remove(unfinished)
    for other in _entries(folder, name):
        if other != entry:
            _remove(other)
    sync_folder(folder)
    return entry


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _plain(name: str) -> str:
    """Return a name without slashes, as the hub's own cache writes it."""
    return name.replace("/", "--")


def _entries(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir():
        return []
    called = re.compile(re.escape(_plain(name)) + r"\.[0-9a-f]{32}(\.\w+)?")
    return sorted(entry for entry in folder.iterdir() if called.fullmatch(entry.name))
