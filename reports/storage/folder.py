"""Folders on any file system: where they lie, what is in them, and the error of unusable storage.

Every implementation keeps two promises. A file is written whole or not at all. If several writers
`create` the same file, exactly one of them is told that it did. A file system that does not answer
for a moment is retried (`reports.storage.retry`); one that stays out of reach, or is full, raises
`StorageError`.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsss_core.errors import QUOTED, InputError, check_printable, checked_path, quoted

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a storage without space."""

_NOT_OF_STORAGE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR)
"""What opening and writing files may fail of too: the process, not its storage."""

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


_WITHOUT_HOST = ("memory", "hdfs", "webhdfs", "dir", "local")
"""File systems whose URIs may name no host or bucket: `hdfs:///results`."""

_LOST_SLASHES = re.compile(r"(?:\./)?([A-Za-z][A-Za-z0-9+.-]+):(/[^/]|/?$)")


def _checked_uri(where: str) -> str:
    """Return a URI; raise InputError if it cannot name a folder."""
    scheme, _, rest = where.partition("://")
    check_printable(where, "URI", allowed="")
    if not rest.strip("/") or (rest.startswith("/") and scheme not in _WITHOUT_HOST):
        raise InputError(
            f"{without_password(where)[:QUOTED]}: names no bucket or host, expected such as "
            f"{scheme[:QUOTED]}://bucket/folder"
        )
    return where


def without_password(text: str) -> str:
    """Return a text whose URIs show no password.

    >>> without_password("--results ftp://me:secret@host/study")
    '--results ftp://me:***@host/study'
    """
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)


def below(where: Location, *names: str) -> Location:
    """Return a location below another.

    >>> below("s3://bucket/study/", "store")
    's3://bucket/study/store'
    """
    if is_uri(where):
        return "/".join([str(where).rstrip("/"), *names])
    return local_path(where).joinpath(*names)


def local_path(where: Location) -> Path:
    """Return the absolute path of a location that is no URI.

    Raises:
        InputError: there can be no such path, see `wsss_core.errors.checked_path`.

    """
    written = str(where).removeprefix("file://")
    if found := _LOST_SLASHES.match(written):
        raise InputError(
            f"{quoted(written)}: expected a path, or a URI such as {found[1]}://bucket/folder"
        )
    return checked_path(written)


def located(text: str) -> Location:
    """Return the location that a command line names: a URI as it is, a path as a `Path`.

    Raises:
        InputError: it can be neither.

    """
    if is_uri(text):
        return _checked_uri(text).rstrip("/")
    local_path(text)
    return Path(text.removeprefix("file://"))


class StorageError(InputError):
    """A storage stays out of reach, is full or refuses access; the message names it."""


def error_number(error: BaseException) -> int | None:
    """Return the system's number of an error; None if it has none.

    Libraries that are written in Rust, as safetensors, keep the number in their text alone.

    >>> error_number(ValueError("I/O error: No space left on device (os error 28)"))
    28
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


@contextmanager
def storage_errors(where: Location) -> Iterator[None]:
    """Raise `StorageError` if the block cannot write or read the files of a folder.

    Args:
        where: the folder, for the message. Whatever number of the system is behind an error counts
            as this folder's, unless it says that the process lacks memory or open files.

    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        behind: BaseException | None = error
        while behind is not None and (number := error_number(behind)) is None:
            behind = behind.__cause__
        if behind is None or number is None or number in _NOT_OF_STORAGE:
            raise
        said = "no space left on the storage" if number in FULL else os.strerror(number)
        raise StorageError(f"{where}: {said}") from error


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


def plain_name(name: str) -> str:
    """Return the name itself.

    Raises:
        ValueError: it is empty, leads out of the folder or holds a separator.

    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"no name of a file in a folder: {name!r}")
    return name
