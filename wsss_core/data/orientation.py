"""The EXIF orientation of image and mask files, and what `PixelRules` make of it.

Source: CIPA DC-008 (Exif 2.32), tag 0x0112. TIFF has the same tag as part of the format; Pillow
applies it whenever it decodes, so a TIFF counts as upright here.
"""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from wsss_core.data.picture_facts import PictureError, PictureFault
from wsss_core.data.pixel_rules import PixelRules

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_TAGS = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}


def header_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that stands before the pixels of an opened image, 1 to 8."""
    if image.format == "PNG" and not _PNG_TAGS & image.info.keys():
        return 1  # to ask for EXIF would decode the image
    return _orientation(image)


def loaded_orientation(path: Path, image: Image.Image, rules: PixelRules, before: int) -> int:
    """Return the EXIF orientation of a decoded image, 1 to 8, which the rules have to allow.

    Args:
        path: the file.
        image: the image, decoded.
        rules: how it is read.
        before: its `header_orientation` before it was decoded.

    Raises:
        InputError: the rules refuse it, or would have to apply that of a PNG that names it after
            its pixels, where it is not seen before they are decoded.

    """
    found = checked_orientation(path, _orientation(image), rules)
    if rules.orientation == "apply" and found != before:
        raise PictureError(
            PictureFault.ORIENTATION,
            path,
            "its EXIF orientation stands after its pixels; save it again, or say "
            "`data: {orientation: ignore}`",
        )
    return found


def checked_orientation(path: Path, orientation: int, rules: PixelRules) -> int:
    """Return an EXIF orientation.

    Raises:
        InputError: the rules refuse it.

    """
    if orientation != 1 and rules.orientation == "refuse":
        raise PictureError(
            PictureFault.ORIENTATION,
            path,
            "so viewers turn it; say `data: {orientation: apply}` if masks fit the "
            "image as viewers show it, `ignore` if they fit it as it is stored",
            f"EXIF orientation {orientation}, ",
        )
    return orientation


def is_sideways(orientation: int) -> bool:
    """Return whether an EXIF orientation exchanges height and width."""
    return orientation in (5, 6, 7, 8)


def turned_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image turned or mirrored as its EXIF orientation says."""
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def upright_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array [h, w] turned as `turned_upright` turns an image."""
    if is_sideways(orientation):
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1
