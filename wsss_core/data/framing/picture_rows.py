"""A picture's rows on demand, from top to bottom, as RGB.

A PNG of 8 bits per sample is decoded a strip at a time. Every other file is decoded as a whole, in
which Pillow takes four bytes a pixel: 12,000 x 12,000 pixels are 576 MB.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_core.data.file_hashes import open_regular
from wsss_core.data.framing.png_strips import PngStrips
from wsss_core.data.image_decoding import decode_image, image_shape, named_errors, opened_picture
from wsss_core.data.orientation import header_orientation
from wsss_core.data.picture_facts import PictureError, PictureFault
from wsss_core.data.pixel_rules import AS_STORED, PixelRules

STRIP_ROWS = 128
"""Rows that are decoded at a time."""

SMALL_PNG = 2_000_000
"""Pixels up to which a PNG is decoded as a whole, which is faster."""


def checked_file_digest(path: Path, rules: PixelRules = AS_STORED) -> str:
    """Return the digest of a file's bytes, see `file_hashes`, without holding them.

    Raises:
        InputError: it cannot be read, or has more bytes than the rules allow.

    """
    with named_errors(path), open_regular(path) as opened:
        if (size := os.fstat(opened.fileno()).st_size) > rules.most_bytes:
            said = f"expected at most {rules.most_bytes}"
            raise PictureError(PictureFault.UNREADABLE, path, said, f"{size} bytes, ")
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class PictureRows:
    """Rows of a picture; those asked for must not lie above the last ones' first row.

    Attributes:
        shape: (height, width) as the picture is read.
        strips: whether it is decoded a strip at a time.

    """

    def __init__(self, shape: tuple[int, int], strips: Iterator[NDArray[np.uint8]], *, by: bool):
        self.shape, self.strips = shape, by
        self._strips = strips
        self._held = np.empty((0, shape[1], 3), np.uint8)
        self._first = 0

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, rules: PixelRules = AS_STORED, *, small: int | None = None
    ) -> "Iterator[PictureRows]":
        """Open a picture.

        Args:
            path: the file.
            rules: how it is read.
            small: up to so many pixels a PNG is decoded as a whole; None: `SMALL_PNG`.

        Raises:
            InputError: as `wsss_core.data.image_decoding.decode_image`.

        """
        height, width = shape = image_shape(path, rules)
        small = SMALL_PNG if small is None else small
        with contextlib.ExitStack() as stack:
            png = _opened_strips(path, rules) if height * width > small else None
            if png is None:
                pixels = decode_image(path, None, rules).pixels
                yield cls(shape, iter([pixels]), by=False)
            else:
                stack.enter_context(png)
                yield cls(shape, _rgb_strips(png, path), by=True)

    def __call__(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return rows `first` to `stop`, uint8 [stop - first, width, 3]; rows above are dropped."""
        if first < self._first:
            raise ValueError(f"row {first} was dropped, rows from {self._first} on are held")
        end = self._first + len(self._held)
        if stop > end:
            parts = [self._held[first - self._first :]]
            start = min(first, end)
            while end < stop:
                strip = next(self._strips)
                if (skipped := max(0, first - end)) < len(strip):
                    parts.append(strip[skipped:])
                    start = max(start, min(first, end + skipped))
                end += len(strip)
            parts = [part for part in parts if len(part)]
            self._held = parts[0] if len(parts) == 1 else np.concatenate(parts)
            self._first = start
        return self._held[first - self._first : stop - self._first]


def _opened_strips(path: Path, rules: PixelRules) -> PngStrips | None:
    """Return a PNG to read strip by strip; None where it has to be decoded as a whole."""
    with opened_picture(path, rules) as image:
        if image.format != "PNG" or header_orientation(image) != 1:
            return None
    with contextlib.suppress(NotImplementedError):
        return PngStrips(path)
    return None


def _rgb_strips(png: PngStrips, path: Path) -> Iterator[NDArray[np.uint8]]:
    strips: Iterator[Image.Image] = png.strips(STRIP_ROWS)
    while True:
        with named_errors(path):
            strip = next(strips, None)
            if strip is None:
                return
            pixels = np.asarray(strip.convert("RGB"))
        yield pixels
