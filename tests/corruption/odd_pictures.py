"""Odd pictures for a data folder: what a file may hold where an image or a mask is expected."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

SIZE = 4
"""Pixels of a side of every picture of the folder."""


class OddPicture(NamedTuple):
    """A picture.

    Attributes:
        name: says what is odd.
        put: puts it where a path says.
        accepted: whether it is taken as a picture; else it is refused in one line.

    """

    name: str
    put: Callable[[Path], object]
    accepted: bool = False


def picture(kind: str = "PNG", mode: str = "RGB", *, size: int = SIZE, **options: Any) -> bytes:
    """Return the file of a picture of one value."""
    file = io.BytesIO()
    Image.new(mode, (size, size), 1).save(file, kind, **options)
    return file.getvalue()


def chunks(*given: tuple[bytes, bytes], width: int = SIZE, height: int = SIZE, bits: int = 8,
           colour: int = 2) -> bytes:  # fmt: skip
    """Return a PNG of a header and the chunks given."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in ((b"IHDR", header), *given, (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + content))
        parts.append(struct.pack(">I", len(content)) + name + content + check)
    return b"".join(parts)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _with_comment(length: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * length, zip=True)
    return picture(pnginfo=text)


def _three(kind: str) -> bytes:
    return picture(kind, save_all=True, append_images=FRAMES)


def _masked(values: np.ndarray) -> Callable[[Path], object]:
    return lambda file: Image.fromarray(values).save(file, "PNG")


def _saved(mode: str, kind: str) -> Callable[[Path], object]:
    image = Image.fromarray(_VALUES)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    return lambda file: image.save(file, kind)


_VALUES = np.array([[0, 1, 7, 255]] * SIZE, np.uint8)
ROWS = zlib.compress(bytes(SIZE * (3 * SIZE + 1)))
FRAMES = [Image.new("RGB", (SIZE, SIZE), (n, n, n)) for n in (1, 200)]

IMAGES = [
    *(OddPicture(f"a {kind}", _bytes(picture(kind)), accepted=True)
      for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")),
    *(OddPicture(f"a {kind}", _bytes(picture(kind)))
      for kind in ("GIF", "PPM", "TGA", "PCX", "SGI", "DDS", "IM", "JPEG2000", "EPS", "PDF")),
    *(OddPicture(f"a PNG of mode {mode}", _bytes(picture(mode=mode)), accepted=True)
      for mode in ("1", "L", "LA", "P", "RGBA")),
    OddPicture("a JPEG in CMYK", _bytes(picture("JPEG", "CMYK")), accepted=True),
    OddPicture("a progressive JPEG", _bytes(picture("JPEG", progressive=True)), accepted=True),
    OddPicture("a JPEG and more", _bytes(picture("JPEG") + b"x" * 99), accepted=True),
    *(OddPicture(f"a {kind} of three pictures", _bytes(_three(kind)), accepted=True)
      for kind in ("WEBP", "PNG", "TIFF")),  # the first is taken
    OddPicture("a PNG of 16 bits", _bytes(picture(mode="I;16"))),
    OddPicture("a TIFF of floats", _bytes(picture("TIFF", "F"))),
    OddPicture("nothing", _bytes(b"")),
    OddPicture("a byte", _bytes(b"\x89")),
    OddPicture("zeros", _bytes(bytes(4096))),
    OddPicture("a text", _bytes(b"hello")),
    OddPicture("a page", _bytes(b"<!DOCTYPE html><title>404</title>")),
    OddPicture("a drawing", _bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    OddPicture("a pointer of Git LFS", _bytes(b"version https://git-lfs.github.com/spec/v1\n")),
    *(OddPicture(f"half a {kind}", _bytes(_half(picture(kind, size=64))))
      for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")),
    OddPicture("a PNG with a flipped bit of its pixels", _bytes(_flipped(picture(), 45))),
    OddPicture("a PNG with a flipped bit of its header", _bytes(_flipped(picture(), 19))),
    OddPicture("a PNG without pixels", _bytes(chunks())),
    # Pillow reads the rows that are not there as black.
    OddPicture("a PNG with too few rows", _bytes(chunks((b"IDAT", ROWS), height=9)), accepted=True),
    OddPicture("a PNG of no width", _bytes(chunks((b"IDAT", ROWS), width=0))),
    OddPicture("a PNG of 2 gigapixels", _bytes(chunks((b"IDAT", ROWS), width=2**16, height=2**15))),
    OddPicture("a PNG of no such colour", _bytes(chunks((b"IDAT", ROWS), colour=7))),
    OddPicture("a PNG of no such depth", _bytes(chunks((b"IDAT", ROWS), bits=3))),
    OddPicture("a PNG with a comment", _bytes(_with_comment(1000)), accepted=True),
    OddPicture("a PNG with a comment of 10 MB", _bytes(_with_comment(10**7))),
    OddPicture("a PNG with no colour profile", _bytes(picture(icc_profile=b"none")), accepted=True),
    OddPicture("a folder", lambda file: file.mkdir()),
    OddPicture("a pipe", lambda file: os.mkfifo(file)),
    OddPicture("a link to nothing", lambda file: file.symlink_to("nothing")),
    OddPicture("a link to itself", lambda file: file.symlink_to(file.name)),
    OddPicture("a link to a device", lambda file: file.symlink_to("/dev/zero")),
]  # fmt: skip
"""In place of a training image."""

MASKS = [
    OddPicture("a mask of bytes", _masked(_VALUES), accepted=True),
    OddPicture("a mask of a palette", _saved("P", "PNG"), accepted=True),
    OddPicture("a mask of one bit", _bytes(picture(mode="1"))),  # then no image holds class 7
    OddPicture("a mask of 16 bits", _masked(_VALUES.astype(np.uint16)), accepted=True),
    OddPicture("a mask of equal channels", _masked(np.stack([_VALUES] * 3, -1)), accepted=True),
    OddPicture("a mask of colours", _masked(np.stack([_VALUES, _VALUES, 0 * _VALUES], -1))),
    OddPicture("a mask with transparency", _bytes(picture(mode="LA"))),
    OddPicture("a mask of another size", _masked(_VALUES[:2])),
    OddPicture("a mask of a value of no class", _masked(_VALUES + np.uint8(2))),
    *(OddPicture(f"a mask as {kind}", _saved("L", kind), accepted=kind in ("BMP", "TIFF"))
      for kind in ("JPEG", "WEBP", "BMP", "TIFF", "GIF")),
    OddPicture("a mask of nothing", _bytes(b"")),
    OddPicture("half a mask", _bytes(picture(mode="L", size=64)[:60])),
    OddPicture("a mask that is a folder", lambda file: file.mkdir()),
]  # fmt: skip
"""In place of the mask of an image to tune on; classes 1 and 7, 255 is not scored."""
