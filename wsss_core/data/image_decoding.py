"""From an image file to an array, with one kind of error that names the file.

Files are opened by their content, as one of `IMAGE_FORMATS` and no other of Pillow's formats. What
Pillow alone would decide is decided by `PixelRules` here: EXIF orientations, 16 bits per channel,
and the largest size. Transparency is dropped, and the colours that it hides are read.
"""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsss_core.data.file_hashes import content_hash, open_regular
from wsss_core.data.orientation import (
    checked_orientation,
    header_orientation,
    is_sideways,
    loaded_orientation,
    turned_upright,
)
from wsss_core.data.picture_facts import PictureError, PictureFacts, PictureFault
from wsss_core.data.pixel_rules import AS_STORED, USUAL_RULES, PixelRules
from wsss_core.data.thumbnails import THUMBNAIL, reduce_to_thumbnail
from wsss_core.errors import InputError, one_line

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""The formats of images and masks, whatever the ending of the file's name is."""

MOST_PIXELS = USUAL_RULES.most_pixels
"""The most pixels of an image or mask, unless a key allows more."""

# Every file is opened below, where the limit is that of the rules. Pillow's own limit would print
# warnings, and would end with words about attacks.
Image.MAX_IMAGE_PIXELS = None

_WHITE = 65535  # the largest value of 16 bits
_NEARLY_BLACK = 4095  # 16 bits that hold no larger value come from a sensor of fewer
_LARGE = 32_000_000  # pixels; larger files are decoded one at a time, for the memory's sake
_one_large_at_a_time = threading.RLock()


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
    def read(cls, path: Path, rules: PixelRules = AS_STORED) -> "PictureFile":
        """Read a file.

        Raises:
            InputError: it cannot be read, is no regular file, or has more bytes than the rules
                allow, 256 MiB by default.

        """
        with named_errors(path), open_regular(path) as opened:
            if (size := os.fstat(opened.fileno()).st_size) > rules.most_bytes:
                raise PictureError(
                    PictureFault.UNREADABLE,
                    path,
                    f"expected at most {rules.most_bytes}",
                    f"{size} bytes, ",
                )
            return cls(path, opened.read())

    @cached_property
    def digest(self) -> str:
        """The digest of its bytes, see `wsss_core.data.file_hashes.file_hashes`."""
        return content_hash(self.content)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image.

    Attributes:
        pixels: uint8 [h, w, 3], RGB.
        facts: what its decoding found beside the pixels.

    """

    pixels: np.ndarray
    facts: PictureFacts


def image_shape(path: Path, rules: PixelRules = AS_STORED) -> tuple[int, int]:
    """Return (height, width) as an image is read, from the file's header, without decoding it.

    Args:
        path: the file.
        rules: how it will be read.

    Raises:
        InputError: the file cannot be read as an image, has more pixels than the rules allow, or an
            orientation that they refuse.

    """
    with opened_picture(path, rules) as image:
        orientation = checked_orientation(path, header_orientation(image), rules)
        sideways = rules.orientation == "apply" and is_sideways(orientation)
        return (image.width, image.height) if sideways else (image.height, image.width)


def decode_image(
    file: Path | PictureFile, size: int | None = None, rules: PixelRules = AS_STORED
) -> DecodedImage:
    """Decode an image to RGB.

    Grey, palette and CMYK images become RGB. Transparency is dropped: hidden colours are read. Of
    several pages the first is read. A 16-bit value v becomes v * 256 // (white level + 1), at most
    255; several channels of 16 bits have the white level 65535.

    Args:
        file: the image.
        size: the side in pixels to which it is reduced; the aspect ratio is not kept. The filter is
            bilinear; where the image shrinks, it widens with the factor, so nothing aliases. None:
            the image's own size.
        rules: how it is read.

    Raises:
        InputError: the file is unreadable, truncated or of another format, has other than 8 or 16
            bits per channel, or something that the rules refuse.

    """
    return _decoded(
        file,
        rules,
        lambda rgb: rgb if size is None else rgb.resize((size, size), Image.Resampling.BILINEAR),
    )


def decode_thumbnail(file: Path | PictureFile, rules: PixelRules = AS_STORED) -> DecodedImage:
    """Decode an image to a thumbnail of `wsss_core.data.thumbnails`, with all facts.

    JPEGs are decoded at a fraction of their size, which reads all of their bytes but takes less
    time.

    Raises:
        InputError: as `decode_image`.

    """
    least = 3 * max(THUMBNAIL)  # from there on, the fraction moves thumbnails by less than 0.5
    return _decoded(file, rules, reduce_to_thumbnail, (least, least))


def _decoded(
    file: Path | PictureFile,
    rules: PixelRules,
    reduced: Callable[[Image.Image], Image.Image],
    least: tuple[int, int] | None = None,
) -> DecodedImage:
    """Decode an image, JPEGs perhaps at a fraction of their size but not below `least`."""
    path = path_of(file)
    with opened_picture(file, rules) as image, _memory_for(image):
        before, deep = header_orientation(image), has_16_bits(image)
        shape = image.height, image.width
        if least is not None:
            image.draft("RGB", least)
        rgb, largest = _rgb(path, image, rules) if deep else (_rgb_of_8_bits(path, image), None)
        orientation = loaded_orientation(path, image, rules, before)
        if image.format == "TIFF":
            shape = rgb.height, rgb.width  # Pillow has turned it upright
        if rules.orientation == "apply":
            rgb = turned_upright(rgb, orientation)
            shape = shape[::-1] if is_sideways(orientation) else shape
        return DecodedImage(
            np.asarray(reduced(rgb)),
            PictureFacts(
                path,
                shape,
                orientation,
                transparent=_transparent(image),
                bits=16 if deep else 8,
                largest=largest,
                pages=count_pages(image),  # last, as it leaves the first page
            ),
        )


def read_rgb(file: Path | PictureFile, size: int, rules: PixelRules = AS_STORED) -> np.ndarray:
    """Decode an image to uint8 [size, size, 3], see `decode_image`."""
    return decode_image(file, size, rules).pixels


def read_full_rgb(file: Path | PictureFile, *, upright: bool = False) -> np.ndarray:
    """Decode an image at its own size to uint8 [h, w, 3], otherwise as `decode_image` does.

    Args:
        file: the image.
        upright: turn it as its EXIF orientation says.

    Raises:
        InputError: as `decode_image`.

    """
    return decode_image(file, None, PixelRules("apply") if upright else AS_STORED).pixels


def image_shapes(paths: Sequence[Path], rules: PixelRules = AS_STORED) -> list[tuple[int, int]]:
    """Return `image_shape` of each file, in order."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path: image_shape(path, rules), paths))


def image_readers(
    paths: Sequence[Path], rules: PixelRules = AS_STORED
) -> list[Callable[[], np.ndarray]]:
    """Return for each file what decodes it at its own size, to uint8 [h, w, 3]."""
    return [partial(_whole_pixels, path, rules) for path in paths]


def _whole_pixels(path: Path, rules: PixelRules) -> np.ndarray:
    return decode_image(path, None, rules).pixels


def exif_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image, 1 (upright) to 8; 1 where there is none.

    It is 1 for a TIFF, which is turned upright whenever it is decoded.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with opened_picture(path) as image:
        return header_orientation(image)


def has_16_bits(image: Image.Image) -> bool:
    """Return whether an image that is not decoded yet has 16 bits per channel."""
    # Pillow decodes several channels of 16 bits to 8 and tells so nowhere else.
    deep = any(";16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
    return image.mode.startswith("I;16") or deep


def count_pages(image: Image.Image) -> int:
    """Return how many pictures a decoded file holds; the first may be left for the last."""
    if image.format not in ("PNG", "WEBP", "TIFF"):
        return 1  # a second picture in a JPEG is a preview of the first
    with contextlib.suppress(Exception):  # damaged pages that are not read anyway
        return int(getattr(image, "n_frames", 1))
    return 1


def path_of(file: Path | PictureFile) -> Path:
    """Return the path of a file, whether it has been read already or not."""
    return file.path if isinstance(file, PictureFile) else file


@contextmanager
def opened_picture(
    file: Path | PictureFile, rules: PixelRules = AS_STORED
) -> Iterator[Image.Image]:
    """Open an image or mask file; errors within name it.

    Raises:
        InputError: it is no image, or has more pixels than the rules allow.

    """
    path = path_of(file)
    with named_errors(path):
        content = io.BytesIO(file.content) if isinstance(file, PictureFile) else open_regular(file)
        with content:
            try:
                image = Image.open(content, formats=IMAGE_FORMATS)
            except UnidentifiedImageError as error:
                content.seek(0)
                raise _no_image(path, content.read(_START)) from error
            with image:
                check_pixels(path, image.width, image.height, rules)
                yield image


def check_pixels(path: Path, width: int, height: int, rules: PixelRules) -> None:
    """Raise InputError if a file has more pixels than the rules allow."""
    if width * height > rules.most_pixels:
        needed = -(-width * height // 10**6)
        raise PictureError(
            PictureFault.SIZES,
            path,
            f"expected at most {rules.largest_megapixels} megapixels; a larger "
            "`data: {largest_megapixels: ...}` reads it",
            f"{width}x{height} pixels ({needed} megapixels), ",
        )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Raise whatever goes wrong within as one error of one line that names the file."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        said = "there is too little memory to decode it"
        raise PictureError(PictureFault.UNREADABLE, path, said) from error
    except Exception as error:  # on damaged files the decoders raise nearly anything
        reason = getattr(error, "strerror", None) or one_line(error)
        said = f"expected a readable image: {reason}"
        raise PictureError(PictureFault.UNREADABLE, path, said) from error


_LFS = b"version https://git-lfs"
_PAGE = b"<!doctype html", b"<html"
_START = 256  # bytes that tell what a file is that is no image


def _no_image(path: Path, start: bytes) -> PictureError:
    *others, last = IMAGE_FORMATS
    said = f"not an image, expected {', '.join(others)} or {last}"
    if not start:
        said = f"an empty file of 0 bytes, {said.partition(', ')[2]}"
    elif start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        said = "not an image but an HTML page, as servers send in place of a file; fetch it again"
    elif start.startswith(_LFS):
        said = "not an image but a pointer of Git LFS; `git lfs pull` fetches the images"
    return PictureError(PictureFault.UNREADABLE, path, said)


@contextmanager
def _memory_for(image: Image.Image) -> Iterator[None]:
    large = image.width * image.height > _LARGE
    with _one_large_at_a_time if large else contextlib.nullcontext():
        yield


def _rgb_of_8_bits(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        raise PictureError(
            PictureFault.BIT_DEPTH,
            path,
            "expected 8 or 16 bits per channel",
            f"image of mode {image.mode}, ",
        )
    if image.mode == "RGB":  # which `convert` would copy, four bytes a pixel
        image.load()
        return image
    return image.convert("RGB")


def _rgb(path: Path, image: Image.Image, rules: PixelRules) -> tuple[Image.Image, int]:
    """Return a 16-bit image with 8 bits, and its largest value."""
    white = rules.white_level or _WHITE
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        largest = int(values.max())
        levels = np.minimum(values * 256 // (white + 1), 255).astype(np.uint8)
        rgb = Image.fromarray(levels).convert("RGB")
    else:
        rgb = image.convert("RGB")  # the high byte of each value
        largest = 256 * max(int(high) for _, high in rgb.getextrema()) + 255  # type: ignore[misc]
        if white != _WHITE:
            raise PictureError(
                PictureFault.BIT_DEPTH,
                path,
                f"16 bits in several channels, expected the white level {_WHITE}",
            )
    if rules.white_level is None and 0 < largest <= _NEARLY_BLACK:
        raise PictureError(
            PictureFault.BIT_DEPTH,
            path,
            f"image of 16 bits without a value above {_NEARLY_BLACK}, which would be nearly black; "
            "say `data: {white_level: 4095}`, or the value of your white",
        )
    return rgb, largest


def _transparent(image: Image.Image) -> int:
    """Return how many pixels of a decoded image are not opaque."""
    if not image.has_transparency_data:
        return 0
    alpha = image if "A" in image.getbands() else image.convert("RGBA")
    return sum(alpha.getchannel("A").histogram()[:255])
