"""The files of one folder by their stems; names that cannot be used, files that are passed over."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from wsss_core.data.folder.findings import DataFindings, FindingCollector, FindingKind, Severity
from wsss_core.data.folder.likely_names import meant_hint
from wsss_core.errors import InputError, check_printable, quoted

_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_BESIDE = (
    *(".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".log", ".pdf", ".zip"),
)
"""Endings of files that lie beside images on purpose."""


def composed_form(name: str) -> str:
    """Return a name in Unicode's composed form: file systems and archives differ in it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def required_folder(path: Path, purpose: str) -> Path:
    """Return a folder.

    Args:
        path: the folder.
        purpose: what it is for, for the message.

    Raises:
        InputError: there is no such folder; the message names one that may be meant.

    """
    if path.is_dir():
        return path
    siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    raise InputError(
        f"{path}: no such folder, expected a folder {purpose}{meant_hint(path.name, siblings)}"
    )


def checked_name(path: Path) -> str:
    """Return the name of a file or folder.

    Raises:
        InputError: tables cannot hold it.

    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path.parent}: the name {quoted(path.name)} is not UTF-8") from error
    check_printable(path.name, str(path.parent), allowed="")
    return path.name


def written_out(name: str) -> str:
    """Return a file's name with the bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def beside_images(name: str) -> bool:
    """Return whether a name is of what systems leave behind: hidden files, resource forks."""
    return name.startswith(".") or name == "__MACOSX" or name.casefold() in _SYSTEM_FILES


def listed_files(
    folder: Path, suffixes: tuple[str, ...], collector: FindingCollector | None = None
) -> dict[str, Path]:
    """Return the files of a folder that end in one of `suffixes`, sorted by name.

    Args:
        folder: the folder.
        suffixes: in small letters; those of the files may be in any.
        collector: is told what is wrong, and which files are passed over.

    Returns:
        Stem, in Unicode's composed form, -> file.

    Raises:
        InputError: something is wrong with a file's name, and there is no collector.

    """
    told = FindingCollector() if collector is None else collector
    files: dict[str, Path] = {}
    passed_over = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if beside_images(path.name):
            continue
        if path.is_dir():
            text = f"folder among the images, expected files alone in {folder}"
            told.refuse(FindingKind.LAYOUT, text, path)
        elif path.suffix.lower() not in suffixes:
            passed_over.append(path)
        else:
            _add(files, path, told)
    if collector is None:
        DataFindings.of(told.findings()).raise_refused()
    _tell_passed_over(folder, passed_over, suffixes, told)
    return files


def _add(files: dict[str, Path], path: Path, told: FindingCollector) -> None:
    try:
        checked_name(path)
    except InputError as error:
        written = written_out(path.name)
        # The folder stands in the message, the name in it is written out.
        told.refuse(FindingKind.NAMES, _without_path(error, path.parent), path.parent / written)
        return
    stem = composed_form(path.stem)
    if stem not in files:
        files[stem] = path
        return
    other = files[stem].name
    text = f"same stem as {other}, expected it only once"
    if composed_form(path.name) == composed_form(other):
        text = "same name as another file, in another Unicode form; rename or remove one of them"
    told.refuse(FindingKind.NAMES, text, path, "same stem")


def _without_path(error: InputError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _tell_passed_over(
    folder: Path, paths: Iterable[Path], suffixes: tuple[str, ...], told: FindingCollector
) -> None:
    place = f"{folder.parent.name}/{folder.name}"
    split = folder.parent.name
    for path in paths:
        suffix = path.suffix.lower()
        severity = Severity.NOTE if suffix in _BESIDE else Severity.WARNING
        kind = f"{quoted(suffix)} files" if suffix else "files without a suffix"
        text = f"{kind} in {place} are passed over, expected {', '.join(suffixes)}"
        written = written_out(path.name)
        told.add(FindingKind.PASSED_OVER, severity, text, f"{place}/{written}", split)


def suffix_counts(folder: Path) -> str:
    """Return how many files of each suffix a folder holds, e.g. "8 .tif, 1 .txt"."""
    found = Counter(
        path.suffix.lower() or "without suffix"
        for path in folder.iterdir()
        if not beside_images(path.name) and path.is_file()
    )
    return ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(4))
