"""What a file holds that may not be meant: several pages, a palette that begins with white."""

from pathlib import Path

import numpy as np

from wsss_core.data.image_decoding import count_pages, opened_picture


def page_count(path: Path) -> int:
    """Return how many pages or frames an image file holds; previews in a photograph do not count.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with opened_picture(path) as image:
        return count_pages(image)


def unusual_palette(path: Path) -> dict[int, tuple[int, int, int]] | None:
    """Return the colour of every index that a palette mask uses, where index 0 is not black.

    Returns:
        index -> red, green, blue; None of a mask without a palette, or where index 0 is black or
        not used.

    Raises:
        InputError: the file cannot be read as an image.

    """
    with opened_picture(path) as image:
        palette = image.getpalette("RGB") if image.mode == "P" else None
        if not palette or not any(palette[:3]):
            return None
        used = np.unique(np.asarray(image)).tolist()
        colours = [tuple(palette[3 * index : 3 * index + 3]) for index in used]
        found = {i: c for i, c in zip(used, colours, strict=True) if len(c) == 3}
        return found if 0 in found else None
