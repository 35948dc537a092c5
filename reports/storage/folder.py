"""A folder on any file system: a path of this machine, or a URI of one that fsspec knows.

Whatever lies below, two things hold: a file is written whole or not at all, and of several that
`create` one file, one is told that it did. A file system that does not answer for a moment is
waited for (`reports.storage.retry`); one that stays away, or is full, is a `StorageError`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wsss_core.errors import InputError

Location = str | Path
"""A path, or a URI such as ``s3://bucket/prefix``."""

MARK = ".wsss"
"""A small file in a folder that a run has made: where it is gone, the file system is away."""


FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a storage without space."""


class StorageError(InputError):
    """A storage that stays away, is full or refuses access; the message names it."""


@dataclass(frozen=True)
class Entry:
    """A file of a listing.

    Attributes:
        size: in bytes.
        changed: differs whenever the content may.
        modified: seconds since 1970 by the storage's clock; 0 where it keeps no time.

    """

    size: int
    changed: str
    modified: float = 0.0


class Folder(Protocol):
    """A folder on some file system; names are those of files directly in it.

    A name that leads elsewhere (empty, with a slash, ``..``) is a ValueError.
    """

    @property
    def where(self) -> str:
        """Its path or URI."""

    def joined(self, *names: str) -> Folder:
        """A folder below; it need not be there."""

    def read(self, name: str) -> bytes:
        """A file's content; FileNotFoundError where there is none."""

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of files in their order, some at a time where each is a request."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, in place of one of that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file whole unless one of that name is there; whether this call did.

        No two callers may give equal contents: where an answer was lost on its way, a caller knows
        by the content that the file is its own.
        """

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""

    def listing(self, *, hidden: bool = False) -> dict[str, Entry]:
        """The files directly in it by name, in order: the hidden ones (".x"), or the others."""

    def folders(self) -> list[str]:
        """The names of the folders directly in it, in order."""

    def tree(self) -> dict[str, Entry]:
        """All files below it, hidden ones too, by their paths from here, in order.

        Symbolic links are files and lead nowhere. A folder without anything in it is there as a
        path that ends with a slash.
        """

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""

    def delete_all(self) -> None:
        """Delete the folder with all that is in it."""

    def put(self, file: Path, name: str) -> None:
        """Copy a file of this machine here, whole."""

    def get(self, name: str, file: Path) -> None:
        """Copy a file from here to this machine; not whole if that is broken off."""


def is_uri(where: Location) -> bool:
    """Whether a location is a URI of another file system than this machine's.

    >>> is_uri("s3://bucket/study"), is_uri("results/study"), is_uri("file:///results")
    (True, False, False)
    """
    return "://" in str(where) and not str(where).startswith("file://")


def below(where: Location, *names: str) -> Location:
    """A location below another.

    >>> below("s3://bucket/study/", "store")
    's3://bucket/study/store'
    """
    if is_uri(where):
        return "/".join([str(where).rstrip("/"), *names])
    return local_path(where).joinpath(*names)


def local_path(where: Location) -> Path:
    """The absolute path of a location that is no URI."""
    return Path(str(where).removeprefix("file://")).expanduser().absolute()


def located(text: str) -> Location:
    """What a command line names: a URI as it is, a path as a Path."""
    return text.rstrip("/") if is_uri(text) else Path(text.removeprefix("file://"))


def plain_name(name: str) -> str:
    """The name itself, if it stays in its folder.

    Raises:
        ValueError: it is empty, leads elsewhere or holds a separator.

    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"no name of a file in a folder: {name!r}")
    return name


def open_folder(where: Location, *, make: bool = False, expect: bool = False) -> Folder:
    """Open a folder; only `make` touches it.

    Args:
        where: a path or a URI.
        make: make and mark it if it is not there (the driver of a run).
        expect: it was made before; wait until it is there (a worker).

    Raises:
        InputError: a URI of a file system that is not known or whose package is not installed, a
            folder that cannot be written.
        StorageError: it is expected and stays away.

    """
    # Imported here: both are written in the words above.
    from reports.storage.local import LocalFolder
    from reports.storage.remote import RemoteFolder

    folder = RemoteFolder.opened(str(where)) if is_uri(where) else LocalFolder.opened(where)
    if make:
        folder.make()
    if expect:
        folder.await_mark()
    return folder
