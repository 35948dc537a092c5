"""Files that are whole or not there: written through, renamed, with a digest of their content.

Digests are BLAKE2b (RFC 7693) of 128 bit. A small file holds its digest inside: the digest is that
of the content with zeros in the digest's own place, so JSON stays JSON and Parquet stays Parquet. A
large file, which is written in one go, ends in a line that holds the digest of everything before
it; `torch.load` passes over that line.
"""

import contextlib
import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_MARK = b"\nblake2b "
_HEX = 32  # characters of a digest of 128 bit
TRAILER_BYTES = len(_MARK) + _HEX + 1
"""The length of the line with the digest, its line breaks included."""

_CANNOT_SYNC = (errno.EINVAL, errno.EACCES, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EPERM)


class CorruptFileError(ValueError):
    """A file differs from its digest, or has lost it."""


ZEROS = b"0" * _HEX
"""What stands in the place of a digest until `fill_digest` fills it."""


def fill_digest(content: bytes, before: bytes) -> bytes:
    """Return a content with its digest in the digest's place.

    Args:
        content: it holds `ZEROS` at that place.
        before: what stands before the place, last in the content.

    >>> content = fill_digest(b'{"digest": "' + ZEROS + b'"}', b'"digest": "')
    >>> holds_digest(content, b'"digest": "'), holds_digest(content[:-1], b'"digest": "')
    (True, False)
    """
    sink = io.BytesIO(content)
    fill_digest_of(sink, before)
    return sink.getvalue()


def fill_digest_of(sink: io.BytesIO, before: bytes) -> None:
    """Write the digest of a content over the zeros in its place, see `fill_digest`; copy nothing.

    >>> sink = io.BytesIO(b'{"digest": "' + ZEROS + b'"}')
    >>> fill_digest_of(sink, b'"digest": "')
    >>> holds_digest(sink.getvalue(), b'"digest": "')
    True
    """
    at = sink.getvalue().rindex(before) + len(before)
    with sink.getbuffer() as content:
        content[at : at + _HEX] = _digest_but(content, at)


def holds_digest(content: bytes, before: bytes) -> bool | None:
    """Return whether a content agrees with the digest that it holds; None if it holds none."""
    at = content.rfind(before)
    if at < 0:
        return None
    at += len(before)
    return content[at : at + _HEX] == _digest_but(content, at)


def _digest_but(content: bytes | memoryview, at: int) -> bytes:
    """Return the digest of a content with zeros in the digest's place."""
    digest = hashlib.blake2b(memoryview(content)[:at], digest_size=_HEX // 2)
    digest.update(ZEROS)
    digest.update(memoryview(content)[at + _HEX :])
    return digest.hexdigest().encode()


def _trailer(digest: str) -> bytes:
    return _MARK + digest.encode() + b"\n"


def check_digest(file: Path) -> None:
    """Compare a file, of any size, with the digest that it ends in.

    Raises:
        CorruptFileError: it differs from its digest, or ends in none.

    """
    digest = hashlib.blake2b(digest_size=_HEX // 2)
    with file.open("rb") as opened:
        left = os.fstat(opened.fileno()).st_size - TRAILER_BYTES
        while left > 0 and (block := opened.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
        if left or opened.read() != _trailer(digest.hexdigest()):
            raise CorruptFileError("its content differs from the digest that it ends in")


class DigestWriter:
    """A file open for writing whose content is digested on the way; `end` writes the digest.

    Args:
        opened: a binary file.

    """

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self._digest = hashlib.blake2b(digest_size=_HEX // 2)

    def write(self, block: bytes) -> int:
        """Write some bytes; return how many."""
        self._digest.update(block)
        return self._opened.write(block)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._opened.flush()

    def end(self) -> None:
        """Write the line with the digest."""
        self._opened.write(_trailer(self._digest.hexdigest()))


@contextlib.contextmanager
def whole_file(file: Path, aside: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing; at the end of the block it is there, whole, or as it was before.

    The content is written through to the disk, then renamed, then the folder's entry is written
    through.

    Args:
        file: the file.
        aside: a folder on the same file system in which it is unfinished; None: the file's own.
    """
    unfinished = (aside or file.parent) / f".{file.name}.{uuid.uuid4().hex}.tmp"
    try:
        with unfinished.open("wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(unfinished, file)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    sync_folder(file.parent)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole, see `whole_file`."""
    with whole_file(file) as opened:
        opened.write(content)


def sync_folder(folder: Path) -> None:
    """Write a folder's entries through to the disk, so that a rename survives a loss of power.

    File systems that cannot do so for folders are left alone.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
