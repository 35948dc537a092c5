"""Digests of whole files, many at once: equal digests, equal content."""

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsss_core.errors import InputError


def file_hashes(paths: Sequence[Path]) -> list[str]:
    """Return the BLAKE2b digest (128 bit, hexadecimal) of each file's bytes, in order.

    Raises:
        InputError: the first file, in order, that cannot be read or is no regular file.

    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_file_hash, paths))


def content_hash(content: bytes) -> str:
    """Return the digest that `file_hashes` gives for a file with these bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; a pipe, a device or a socket is refused, not waited for.

    Raises:
        InputError: it is no regular file.
        OSError: it cannot be opened.

    """
    _check_regular(path, os.stat(path))
    # Without the flag, a pipe that has taken the file's place meanwhile would be waited for.
    opened = os.fdopen(os.open(path, os.O_RDONLY | _NO_WAIT), "rb")
    try:
        _check_regular(path, os.fstat(opened.fileno()))
    except InputError:
        opened.close()
        raise
    return opened


_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def _check_regular(path: Path, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: expected a regular file, no folder, pipe, device or socket")


def _file_hash(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file: {error.strerror}") from error
