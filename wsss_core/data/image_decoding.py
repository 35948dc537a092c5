"""From an image or mask file to an array, with one kind of error that names the file.

Files are opened by their content, as one of `IMAGE_FORMATS` and no other of Pillow's formats. An
EXIF orientation is not applied to images: masks carry none, and would no longer lie on them.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from wsss_core.data.file_hashes import content_hash, open_regular
from wsss_core.errors import InputError, one_line

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""The formats of images, whatever the ending of the file's name is."""

MASK_FORMATS = ("PNG",)
"""The formats of masks."""

MOST_PIXELS = 64_000_000
"""The most pixels of an image or mask; networks see a few hundred pixels a side."""

_MOST_BYTES = 2**28  # 64 megapixels of four channels take 244 MiB without compression

# Pillow warns of more than 89 megapixels; they are refused here before they are decoded.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class PictureFile:
    """The bytes of an image or mask file, read once, so that its digest is that of its pixels.

    Attributes:
        path: the file.
        content: its bytes.

    """

    path: Path
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "PictureFile":
        """Read a file.

        Raises:
            InputError: it cannot be read, is no regular file, or has more than 256 MiB.

        """
        with _named_errors(path), open_regular(path) as opened:
            if (size := os.fstat(opened.fileno()).st_size) > _MOST_BYTES:
                raise InputError(f"{path}: {size} bytes, expected at most {_MOST_BYTES}")
            return cls(path, opened.read())

    @cached_property
    def digest(self) -> str:
        """The digest of its bytes, see `wsss_core.data.file_hashes.file_hashes`."""
        return content_hash(self.content)


def image_shape(path: Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """Return (height, width) from the file's header, without decoding it.

    Args:
        path: the file.
        formats: of Pillow; `MASK_FORMATS` for a mask.

    Raises:
        InputError: the file cannot be read as an image of these formats, or has more than
            `MOST_PIXELS`.

    """
    with _opened(path, formats) as image:
        return image.height, image.width


def read_rgb(file: Path | PictureFile, size: int) -> np.ndarray:
    """Decode an image to uint8 [size, size, 3]; the aspect ratio is not kept.

    Bilinear; where the image shrinks, the filter widens with the factor, so nothing aliases.
    Grey, palette and CMYK images become RGB, transparency is dropped.

    Raises:
        InputError: the file is unreadable, truncated or of another format, or has more than 8 bits
            per channel or more than `MOST_PIXELS`.

    """
    with _opened(file, IMAGE_FORMATS) as image:
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{_path(file)}: image of mode {image.mode}, expected 8 bits per channel"
            )
        rgb = image.convert("RGB")
        return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))


def read_full_rgb(file: Path | PictureFile, *, upright: bool = False) -> np.ndarray:
    """Decode an image at its own size to uint8 [h, w, 3], otherwise as `read_rgb` does.

    Args:
        file: the image.
        upright: turn it as its EXIF orientation says.

    Raises:
        InputError: as `read_rgb`.

    """
    with _opened(file, IMAGE_FORMATS) as image:
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{_path(file)}: image of mode {image.mode}, expected 8 bits per channel"
            )
        turned = ImageOps.exif_transpose(image) if upright else image
        return np.asarray(turned.convert("RGB"))


def exif_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image, 1 (upright) to 8; 1 where there is none.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with _opened(path, IMAGE_FORMATS) as image:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return found if found in range(1, 9) else 1


def read_stored_pixels(file: Path | PictureFile, *, colours: bool = False) -> np.ndarray:
    """Decode a mask of any of `IMAGE_FORMATS` as stored: integers [h, w], or uint8 [h, w, 3].

    Transparency is dropped. Colours whose three channels agree everywhere are given as [h, w].

    Args:
        file: the mask.
        colours: give the colours of a palette, not its indices, and always [h, w, 3].

    Raises:
        InputError: the file is unreadable or holds reals.

    """
    with _opened(file, IMAGE_FORMATS) as image:
        if image.mode == "F":
            raise InputError(f"{_path(file)}: mask of reals, expected whole numbers or colours")
        if colours:
            return np.asarray(image.convert("RGB"))
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            values = np.asarray(image)
            return values.view(np.uint8) if values.dtype == np.bool_ else values
        if image.mode in ("LA", "PA"):
            return np.asarray(image.getchannel(0))
        rgb = np.asarray(image.convert("RGB"))
        grey = (rgb[..., :1] == rgb[..., 1:]).all()
        return rgb[..., 0] if grey else rgb


def read_mask_values(file: Path | PictureFile) -> np.ndarray:
    """Decode a mask to the values stored in it, an integer array [h, w].

    One-bit masks give 0 and 1, palette masks their indices, 16-bit masks their values.

    Raises:
        InputError: the file is unreadable, no PNG, a colour image, or has more than `MOST_PIXELS`.

    """
    with _opened(file, MASK_FORMATS) as image:
        if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
            raise InputError(
                f"{_path(file)}: mask of mode {image.mode}, expected one number per pixel "
                f"(mode 1, L, P or I;16), no colours"
            )
        values = np.asarray(image)
        return values.view(np.uint8) if values.dtype == np.bool_ else values


def _path(file: Path | PictureFile) -> Path:
    return file.path if isinstance(file, PictureFile) else file


@contextmanager
def _opened(file: Path | PictureFile, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    path = _path(file)
    with _named_errors(path, formats):
        content = io.BytesIO(file.content) if isinstance(file, PictureFile) else open_regular(file)
        with content, Image.open(content, formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"{path}: {image.width}x{image.height} pixels, expected at most "
                    f"{MOST_PIXELS // 10**6} megapixels"
                )
            yield image


@contextmanager
def _named_errors(path: Path, formats: tuple[str, ...] = IMAGE_FORMATS) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        *others, last = formats
        known = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{path}: not an image, expected {known}") from error
    except MemoryError as error:
        raise InputError(f"{path}: there is too little memory to decode it") from error
    except Exception as error:  # on damaged files the decoders raise nearly anything
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: expected a readable image: {reason}") from error
