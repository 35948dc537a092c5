"""Files of a source: listed with bounds, found by the names that annotation files give.

A name that leads out of the source is refused, and so is a JSON file that is none.
"""

import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Never

import numpy as np

from wsss_core.data.file_hashes import open_regular
from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.folder.likely_names import LIKELY_NAMES
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, as_input_error, check_printable, one_line, quoted
from wsss_core.text_files import read_text

MOST_FILES = 2_000_000
"""The most files of a source."""

MOST_JSON_BYTES = 2**30
"""The largest JSON file; COCO's instances_train2017.json has 449 MB."""

_SNIFFED = 2**16  # bytes at either end of a large JSON file, where its keys are looked for
_PARSED = 2**22  # bytes of a JSON file that is read whole to see its keys

SPLIT_WORDS = {word: split for split in SPLITS for word in (split, *LIKELY_NAMES[split])}
"""What data sets call their splits -> the split of this product."""


def is_unrelated(name: str) -> bool:
    """Return whether a file or folder is no part of a data set: hidden, or of an archive tool."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that may belong to a data set, sorted by name."""
    try:
        found = [entry for entry in folder.iterdir() if not is_unrelated(entry.name)]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {one_line(error.strerror)}") from error
    return sorted((entry for entry in found if entry.is_dir()), key=lambda path: path.name)


def files_below(root: Path, suffixes: Sequence[str], *, deep: bool = True) -> list[Path]:
    """Return the files of these suffixes in a folder, sorted by path.

    Args:
        root: the folder; linked folders in it are followed, each only once.
        suffixes: in small letters; those of the files may be in any.
        deep: also those in folders below.

    Raises:
        InputError: there are more than `MOST_FILES`, or a name is not UTF-8 or not printable.

    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if deep and not is_unrelated(name))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            if is_unrelated(name) or os.path.splitext(name)[1].lower() not in suffixes:
                continue
            check_name(name, place)
            found.append(Path(place, name))
            if len(found) > MOST_FILES:
                raise InputError(f"{root}: more than {MOST_FILES} files, expected fewer")
    return sorted(found)


def composed(name: str) -> str:
    r"""Return a name in Unicode's composed form, so that names that look alike are equal.

    >>> composed("u\u0308") == "\u00fc"
    True
    """
    return unicodedata.normalize("NFC", name)


def source_root(path: Path) -> Path:
    """Return the folder of a source, of which an annotation file may be given."""
    if path.is_dir():
        return path
    return path.parents[1] if path.parent.name == "annotations" else path.parent


def files_by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return stem, in Unicode's composed form, -> file.

    Raises:
        InputError: files have the same stem; the message counts them.

    """
    found: dict[str, Path] = {}
    doubled: list[tuple[Path, Path]] = []
    for file in files:
        if (other := found.setdefault(composed(file.stem), file)) is not file:
            doubled.append((file, other))
    if doubled:
        raise same_stem(doubled)
    return found


def same_stem(doubled: Sequence[tuple[Path, Path]]) -> InputError:
    """Return the error for files that differ only in their ending, and may be image and mask."""
    file, other = doubled[0]
    more = f"; {len(doubled)} such names" if len(doubled) > 1 else ""
    return InputError(
        f"{file}: same name as {other.name} but for the ending{more}; expected one file of each "
        "name, which finds its mask. If one is the mask of the other, say so by patterns, e.g. "
        f"--format pairs --images '**/{{stem}}{other.suffix}' --masks '**/{{stem}}{file.suffix}'"
    )


def check_name(name: str, place: str | Path) -> None:
    """Raise unless a file's name is UTF-8 and printable.

    Raises:
        InputError: it is not, which the message says.

    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the name {quoted(name)} is not UTF-8") from error
    check_printable(name, str(place), allowed="")


def inner_path(name: object, where: str) -> PurePosixPath:
    r"""Return the relative path that an annotation file gives for another file.

    Args:
        name: as it is written there; "\" separates folders as "/" does.
        where: the annotation file, for messages.

    Raises:
        InputError: it is no text, empty, absolute, or leads upward.

    >>> inner_path("images/a.jpg", "x.json").name
    'a.jpg'
    """
    expected = "expected the path of a file below it"
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{where}: file name {quoted(name)}, {expected}")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise InputError(f"{where}: file name {quoted(name)} leads elsewhere, {expected}")
    check_name(name, where)
    return path


class FileIndex:
    """The files of a source, to be found by the names that annotation files give.

    Args:
        root: the folder of the source.
        suffixes: of the files in question.

    """

    def __init__(self, root: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> None:
        self.root = root
        self._suffixes = suffixes

    @cached_property
    def files(self) -> list[Path]:
        """The files, sorted by path."""
        return files_below(self.root, self._suffixes)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            by_name[composed(path.name)].append(path)
        return by_name

    def find(self, name: PurePosixPath, beside: Path, hints: Iterable[str] = ()) -> Path | None:
        """Return the file that an annotation file names, or None.

        It is looked for beside the annotation file, below the root, then anywhere in the source:
        where several have the name, in the folders that end in most of its path, then in those
        that a hint names.

        Args:
            name: the path that the annotation file gives.
            beside: the folder of the annotation file.
            hints: names of folders, e.g. "train2017".

        Raises:
            InputError: several files may be meant.

        """
        for folder in (beside, self.root):
            if (folder / name).is_file():
                return folder / name
        found = self._by_name.get(composed(name.name), [])
        parts = tuple(map(composed, name.parts))
        for length in range(len(parts), 0, -1):
            tail = parts[-length:]
            same = [p for p in found if tuple(map(composed, p.parts[-length:])) == tail]
            if same:
                found = same
                break
        if len(found) > 1:
            hinted = set(hints)
            near = [path for path in found if hinted & set(path.relative_to(self.root).parts)]
            found = near or found
        if len(found) > 1:
            raise InputError(
                f"{self.root}: {quoted(str(name))} may be {found[0]} or {found[1]}; expected one"
            )
        return found[0] if found else None


def read_array(file: Path, *, mapped: bool = False, expected: str = "a NumPy array") -> Any:
    """Return what an `.npy` file holds, without pickled objects.

    Args:
        file: the file.
        mapped: leave the numbers on the disk until they are asked for.
        expected: what it should be, for the message.

    Raises:
        InputError: it cannot be read as an array.

    """
    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{file}: expected {expected}: {one_line(error, 200)}") from error


def read_json(file: Path) -> Any:
    """Return the content of a JSON file in UTF-8.

    Raises:
        InputError: it cannot be read, is larger than `MOST_JSON_BYTES`, or is not JSON.

    """
    try:
        return json.loads(read_text(file, MOST_JSON_BYTES), parse_constant=_no_number)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON: {one_line(error, 200)}") from error


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number of JSON")


def json_keys(file: Path, keys: Sequence[str]) -> bool:
    """Return whether a JSON file's outermost object seems to hold these keys.

    A small file is parsed. Of a large one, and of a broken one, only both ends are looked at, where
    two keys suffice: whoever reads it refuses a broken file, which is not passed over.
    """
    try:
        if file.stat().st_size <= _PARSED:
            with suppress(InputError):
                content = read_json(file)
                return isinstance(content, dict) and set(keys) <= set(content)
        ends = json_ends(file)
    except (OSError, InputError):
        return False
    return ends.lstrip().startswith(b"{") and sum(f'"{key}"'.encode() in ends for key in keys) > 1


def json_ends(file: Path) -> bytes:
    """Return a small file's content, or the first and the last bytes of a large one.

    Raises:
        InputError: it cannot be read, or is larger than `MOST_JSON_BYTES`.

    """
    with as_input_error(f"{file}: cannot be read", OSError), open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > MOST_JSON_BYTES:
            raise InputError(f"{file}: {size} bytes, expected at most {MOST_JSON_BYTES}")
        if size <= _PARSED:
            return opened.read()
        ends = opened.read(_SNIFFED)
        opened.seek(-_SNIFFED, os.SEEK_END)
        return ends + opened.read()


def split_in(text: str) -> str | None:
    """Return the word for a split that a file's or folder's name holds, or None.

    >>> split_in("instances_val2017"), split_in("metadata_train_split_0"), split_in("latest")
    ('val', 'train', None)
    """
    for part in text.lower().replace("-", "_").replace(".", "_").split("_"):
        word = part.rstrip("0123456789")
        if word in SPLIT_WORDS:
            return word
    return None


def original_stem(stem: str) -> str | None:
    """Return the image that Roboflow made a copy of; None where a name is no copy's.

    >>> original_stem("a_jpg.rf.0f3a"), original_stem("a")
    ('a_jpg', None)
    """
    base, augmented, _ = stem.partition(".rf.")
    return base if augmented else None


UNREAD_SUFFIXES = (
    *(".gif", ".avif", ".jfif", ".heic", ".heif", ".jp2", ".svg", ".psd", ".dng", ".raw", ".nef"),
    *(".cr2", ".jxl", ".tga", ".ppm", ".pgm"),
)
"""Endings of images that no reader takes."""


def unread_images(path: Path) -> str | None:
    """Return a note that counts images of kinds that are not read, by their ending; or None.

    Raises:
        InputError: see `files_below`.

    """
    found = files_below(path, UNREAD_SUFFIXES) if path.is_dir() else []
    if not found:
        return None
    by_suffix = Counter(file.suffix.lower() for file in found)
    shown = ", ".join(f"{count} {suffix}" for suffix, count in sorted(by_suffix.items()))
    return tallied(
        len(found),
        f"images of kinds that are not read are passed over: {shown}",
        found[0].relative_to(path),
    )


_FOLDERS = 4  # folders that a note names


def left_out_images(root: Path, used: Collection[Path]) -> str | None:
    """Return a note that counts, by folder, image files that are no part of a set; or None.

    Args:
        root: the folder of the source.
        used: the images and masks of the set.

    Raises:
        InputError: see `files_below`.

    """
    known = set(used)
    found = [file for file in files_below(root, IMAGE_SUFFIXES) if file not in known]
    if not found:
        return None
    folders = Counter(file.parent.relative_to(root).as_posix() for file in found)
    shown = ", ".join(f"{count} in {folder}" for folder, count in folders.most_common(_FOLDERS))
    more = len(folders) - _FOLDERS
    return tallied(
        len(found),
        "image files that no part of the set uses are left out: "
        + shown
        + (f" and in {more} more folders" if more > 0 else ""),
        found[0].relative_to(root),
    )


def tallied(count: int, what: str, example: object) -> str:
    """Return "3 images without a mask (first: a.jpg)".

    >>> tallied(1, "polygon(s) of no area", "a.jpg")
    '1 polygon(s) of no area (first: a.jpg)'
    """
    return f"{count} {what} (first: {example})"
