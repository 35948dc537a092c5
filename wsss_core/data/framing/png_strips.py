"""A PNG decoded a strip of rows at a time, in memory that does not grow with its height.

Pillow decodes a PNG as a whole. A PNG's rows are filtered one after the other and compressed as one
stream (PNG specification, sections 9 and 10), so a strip of them can be made a PNG of its own: the
row before it, unfiltered, and the strip's rows as they are filtered. Pillow decodes that.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import numpy as np
from PIL import Image

from wsss_core.data.file_hashes import open_regular
from wsss_core.errors import InputError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples of a pixel
_KEPT = (b"PLTE", b"tRNS")  # chunks that decide what samples mean
_FRAMES = (b"eXIf", b"fcTL", b"fdAT")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"exif", b"Raw profile type exif", b"XML:com.adobe.xmp", b"xmp")
_BLOCK = 1 << 16  # compressed bytes read at a time


class PngStrips:
    """A PNG of 8 bits per sample that is not interlaced, opened for reading from top to bottom.

    Use it in a `with` statement.

    Args:
        path: the file.

    Attributes:
        width: in pixels.
        height: in pixels.

    Raises:
        NotImplementedError: it is no such PNG; Pillow decodes it as a whole.
        InputError: it cannot be opened.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = open_regular(path)
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read_header(self) -> None:
        if self._file.read(8) != _SIGNATURE:
            raise NotImplementedError("no PNG")
        kind, content = self._chunk()
        if kind != b"IHDR" or len(content) != 13:
            raise NotImplementedError("no header")
        self.width, self.height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
        if bits != 8 or interlaced or colour not in _CHANNELS or not self.width * self.height:
            raise NotImplementedError("interlaced, or not of 8 bits per sample")
        self._header = content
        self._row = 1 + self.width * _CHANNELS[colour]
        self._kept = b""
        self._left = 0
        while True:
            length, kind = self._chunk_start()
            if kind == b"IDAT":
                self._left = length
                break
            if kind in (b"acTL", b"IEND"):
                raise NotImplementedError("animated, or without pixels")
            content = self._file.read(length + 4)[:length]
            if kind in _KEPT:
                self._kept += _chunk_of(kind, content)
        self._check_end()
        self._inflate = zlib.decompressobj()
        self._done = 0
        self._before: bytes | None = None

    def _check_end(self) -> None:
        """Raise unless nothing but pixels follows; an orientation may stand there, or a frame."""
        here, left = self._file.tell(), self._left
        try:
            while True:
                self._file.seek(left + 4, io.SEEK_CUR)
                left, kind = self._chunk_start()
                if kind == b"IEND":
                    return
                if kind in _FRAMES or (kind in _TEXTS and self._tells_of_turning(left)):
                    raise NotImplementedError("a frame or an orientation after its pixels")
        finally:
            self._file.seek(here)

    def _tells_of_turning(self, length: int) -> bool:
        """Return whether the text chunk that begins here may hold an EXIF orientation."""
        start = self._file.read(min(length, 32))
        self._file.seek(-len(start), io.SEEK_CUR)
        return start.partition(b"\0")[0] in _TURNING

    def strips(self, rows: int) -> Iterator[Image.Image]:
        """Yield strips of so many rows, the last may have fewer, in the PNG's own mode.

        Raises:
            InputError: the file is damaged.

        """
        while self._done < self.height:
            count = min(rows, self.height - self._done)
            yield self._strip(count)

    def _strip(self, count: int) -> Image.Image:
        filtered = self._rows(count)
        above = b"" if self._before is None else b"\0" + self._before
        head = struct.pack(">II", self.width, count + bool(above)) + self._header[8:]
        png = io.BytesIO(
            _SIGNATURE
            + _chunk_of(b"IHDR", head)
            + self._kept
            + _chunk_of(b"IDAT", zlib.compress(above + filtered, 0))
            + _chunk_of(b"IEND", b"")
        )
        try:
            with Image.open(png, formats=("PNG",)) as opened:
                opened.load()
                whole = opened.copy()
        except (OSError, SyntaxError, ValueError) as error:
            raise self._damaged(error) from error
        self._before = np.asarray(whole)[-1].tobytes()
        self._done += count
        return whole.crop((0, 1, self.width, count + 1)) if above else whole

    def _rows(self, count: int) -> bytes:
        """Return the next filtered rows, decompressed."""
        wanted = count * self._row
        parts: list[bytes] = []
        while wanted:
            try:
                part = self._inflate.decompress(self._pending(), wanted)
            except zlib.error as error:
                raise self._damaged(error) from error
            parts.append(part)
            wanted -= len(part)
            if not part and self._inflate.eof:
                raise self._damaged("its pixels end early")
        return b"".join(parts)

    def _pending(self) -> bytes:
        """Return compressed bytes that were not taken yet, from the file where there are none."""
        if self._inflate.unconsumed_tail:
            return self._inflate.unconsumed_tail
        while not self._left:
            self._file.read(4)  # the CRC of the chunk that ends
            self._left, kind = self._chunk_start()
            if kind != b"IDAT":
                raise self._damaged("its pixels end early")
        block = self._file.read(min(_BLOCK, self._left))
        if not block:
            raise self._damaged("the file is cut off")
        self._left -= len(block)
        return block

    def _chunk_start(self) -> tuple[int, bytes]:
        start = self._file.read(8)
        if len(start) < 8:
            raise self._damaged("the file is cut off")
        length, kind = struct.unpack(">I4s", start)
        return int(length), bytes(kind)

    def _chunk(self) -> tuple[bytes, bytes]:
        length, kind = self._chunk_start()
        return kind, self._file.read(length + 4)[:length]

    def _damaged(self, why: object) -> InputError:
        return InputError(f"{self._path}: expected a readable image: {why}")


def _chunk_of(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
