"""What a file holds that may not be meant: several pages, a palette that begins with white."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_core.data.image_decoding import count_pages, opened_picture
from wsss_core.data.orientation import header_orientation, is_sideways

_Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class FileHeader:
    """What an image or mask file says of itself before it is decoded.

    Attributes:
        shape: height and width as stored.
        orientation: its EXIF orientation, 1 (upright) to 8.
        pages: how many pages or frames it holds; previews in a photograph do not count.
        palette: the colour of every index that it uses, where it has a palette whose index 0 is
            used and is not black; None otherwise.

    """

    shape: tuple[int, int]
    orientation: int = 1
    pages: int = 1
    palette: dict[int, _Rgb] | None = None

    @property
    def upright_shape(self) -> tuple[int, int]:
        """Height and width after its orientation is applied."""
        return self.shape[::-1] if is_sideways(self.orientation) else self.shape


def file_header(path: Path) -> FileHeader:
    """Return what an image or mask file says of itself.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with opened_picture(path) as image:
        shape, orientation = (image.height, image.width), header_orientation(image)
        palette = _unusual_palette(image)
        return FileHeader(shape, orientation, count_pages(image), palette)


def _unusual_palette(image: Image.Image) -> dict[int, _Rgb] | None:
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if not palette or not any(palette[:3]):
        return None
    used = np.unique(np.asarray(image)).tolist()
    found = {
        index: (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        for index in used
        if 3 * index + 2 < len(palette)
    }
    return found if 0 in found else None
