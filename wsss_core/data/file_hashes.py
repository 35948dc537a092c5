"""Digests of whole files, many at once: equal digests, equal content."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsss_core.errors import InputError


def file_hashes(paths: Sequence[Path]) -> list[str]:
    """Return the BLAKE2b digest (128 bit, hexadecimal) of each file's bytes, in order.

    Raises:
        InputError: the first file, in order, that cannot be read.

    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_file_hash, paths))


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file: {error.strerror}") from error
