"""Folders on any file system: where they lie, what is in them, and the error of unusable storage.

Every implementation keeps two promises. A file is written whole or not at all. If several writers
`create` the same file, exactly one of them is told that it did. A file system that does not answer
for a moment is retried (`reports.storage.retry`); one that stays out of reach, or is full, raises
`StorageError`.
"""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wsss_core.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a storage without space."""

MARK = ".wsss"
"""A small file in a folder that a run has made; without it the file system is not mounted."""

Location = str | Path
"""A path, or a URI such as `s3://bucket/prefix`."""


def is_uri(where: Location) -> bool:
    """Return whether a location is a URI of another file system than this machine's.

    >>> is_uri("s3://bucket/study"), is_uri("results/study"), is_uri("file:///results")
    (True, False, False)
    """
    return "://" in str(where) and not str(where).startswith("file://")


def below(where: Location, *names: str) -> Location:
    """Return a location below another.

    >>> below("s3://bucket/study/", "store")
    's3://bucket/study/store'
    """
    if is_uri(where):
        return "/".join([str(where).rstrip("/"), *names])
    return local_path(where).joinpath(*names)


def local_path(where: Location) -> Path:
    """Return the absolute path of a location that is no URI."""
    return Path(str(where).removeprefix("file://")).expanduser().absolute()


def located(text: str) -> Location:
    """Return the location that a command line names: a URI as it is, a path as a `Path`."""
    return text.rstrip("/") if is_uri(text) else Path(text.removeprefix("file://"))


class StorageError(InputError):
    """A storage stays out of reach, is full or refuses access; the message names it."""


@dataclass(frozen=True)
class Entry:
    """A file of a listing.

    Attributes:
        size: in bytes.
        changed: differs whenever the content may differ.
        modified: seconds since 1970 by the storage's clock; 0 if it keeps no time.

    """

    size: int
    changed: str
    modified: float = 0.0


class Folder(Protocol):
    """A folder on some file system; names are those of files directly in it.

    A name that leads out of the folder (empty, with a slash, `..`) raises ValueError.
    """

    @property
    def where(self) -> str:
        """Its path or URI."""

    def joined(self, *names: str) -> "Folder":
        """Return a folder below this one; it need not exist."""

    def read(self, name: str) -> bytes:
        """Return a file's content; raise FileNotFoundError if there is no such file."""

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the contents of files in their order; a remote folder requests several at once."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole; replace a file of that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file whole unless the name is taken; return whether this call wrote it.

        Different callers must give different contents: if an answer is lost on its way, a caller
        recognises its own file by the content.
        """

    def has(self, name: str) -> bool:
        """Return whether a file of that name exists."""

    def listing(self, *, hidden: bool = False) -> dict[str, Entry]:
        """Return the files directly in it by name, in order: hidden ones (".x"), or the others."""

    def folders(self) -> list[str]:
        """Return the names of the folders directly in it, in order."""

    def tree(self) -> dict[str, Entry]:
        """Return all files below it, hidden ones too, by their paths from here, in order.

        Symbolic links count as files and are not followed. An empty folder is listed as a path
        that ends with a slash.
        """

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""

    def delete_all(self) -> None:
        """Delete the folder with everything in it."""

    def put(self, file: Path, name: str) -> None:
        """Copy a file of this machine here, whole."""

    def get(self, name: str, file: Path) -> None:
        """Copy a file from here to this machine; an interrupted copy leaves a part of it."""


def plain_name(name: str) -> str:
    """Return the name itself.

    Raises:
        ValueError: it is empty, leads out of the folder or holds a separator.

    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"no name of a file in a folder: {name!r}")
    return name
