"""From an image or mask file to an array, with one kind of error that names the file.

An EXIF orientation is not applied to images: masks carry none, and would no longer lie on them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsss_core.errors import InputError, one_line


def image_shape(path: Path) -> tuple[int, int]:
    """Return (height, width) from the file's header, without decoding it.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with _opened(path) as image:
        return image.height, image.width


def read_rgb(path: Path, size: int) -> np.ndarray:
    """Decode an image to uint8 [size, size, 3]; the aspect ratio is not kept.

    Bilinear; where the image shrinks, the filter widens with the factor, so nothing aliases.
    Grey, palette and CMYK images become RGB, transparency is dropped.

    Raises:
        InputError: the file is unreadable or truncated, or has more than 8 bits per channel.

    """
    with _opened(path) as image:
        if image.mode.startswith(("I", "F")):
            raise InputError(f"{path}: image of mode {image.mode}, expected 8 bits per channel")
        rgb = image.convert("RGB")
        return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))


def read_mask_values(path: Path) -> np.ndarray:
    """Decode a mask to the values stored in it, an integer array [h, w].

    One-bit masks give 0 and 1, palette masks their indices, 16-bit masks their values.

    Raises:
        InputError: the file is unreadable, or a colour image.

    """
    with _opened(path) as image:
        if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
            raise InputError(
                f"{path}: mask of mode {image.mode}, expected one number per pixel "
                f"(mode 1, L, P or I;16), no colours"
            )
        values = np.asarray(image)
        return values.view(np.uint8) if values.dtype == np.bool_ else values


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image, expected a file that Pillow can read") from error
    except Exception as error:  # on damaged files the decoders raise nearly anything
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: expected a readable image: {reason}") from error
