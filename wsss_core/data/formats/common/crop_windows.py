"""The thesis's crops of large frames: windows of 512 px that hold some of the object.

12 % of the height are cut from the top and 24 % of the width from the left, where cameras write
their logo and the time. Windows lie at a stride of 64 px; of those with at least 0.5 % object, the
three with the most are kept. They overlap, so their group is the frame.
"""

from dataclasses import dataclass, replace

import numpy as np

from wsss_core.data.formats.common.contents import (
    CutMask,
    FormatContent,
    FormatImage,
    Labels,
    Picture,
    Window,
)
from wsss_core.data.formats.common.source_files import tallied
from wsss_core.data.image_set import IGNORED
from wsss_core.tiling import count_inside


@dataclass(frozen=True)
class CropRule:
    """How windows are chosen; the defaults are the thesis's.

    Attributes:
        top: the share of the height that is cut from the top.
        left: the share of the width that is cut from the left.
        size: the side of a window in pixels.
        stride: the step from one window to the next.
        least_share: the least share of object pixels.
        most: the most windows of an image.

    """

    top: float = 0.12
    left: float = 0.24
    size: int = 512
    stride: int = 64
    least_share: float = 0.005
    most: int = 3


def crop_windows(mask: np.ndarray, rule: CropRule) -> list[Window]:
    """Return the windows of an image, those with most object pixels first.

    Of windows with as many, that further up, then further left, comes first.

    Args:
        mask: uint8 [h, w], 0 background, 255 ignored, others object.
        rule: how they are chosen.

    """
    height, width = mask.shape
    first_row, first_column = int(height * rule.top), int(width * rule.left)
    rows = np.arange(first_row, height - rule.size + 1, rule.stride)
    columns = np.arange(first_column, width - rule.size + 1, rule.stride)
    if not (len(rows) and len(columns)):
        return []
    places = [(row, column, rule.size, rule.size) for row in rows for column in columns]
    boxes = np.array(places, np.int32)
    areas = count_inside((mask > 0) & (mask != IGNORED), boxes)
    found = []
    for at in np.argsort(-areas, kind="stable")[: rule.most]:
        if areas[at] < rule.least_share * rule.size**2:
            break
        found.append(Window(*boxes[at].tolist()))
    return found


def cut_windows(content: FormatContent, rule: CropRule | None = None) -> FormatContent:
    """Replace every image that has a mask by its windows; the others stay as they are.

    Raises:
        InputError: a mask cannot be read.

    """
    chosen = rule or CropRule()
    images: list[FormatImage] = []
    without: list[str] = []
    small: list[str] = []
    for image in content.images:
        if image.mask is None:
            images.append(image)
            continue
        mask = image.mask.read()
        windows = crop_windows(mask, chosen)
        if not windows:
            (without if _is_large_enough(mask.shape, chosen) else small).append(image.name)
        images += [_cut(image, window, n) for n, window in enumerate(windows, start=1)]
    notes = content.notes
    if without:
        said = f"images have no window of {chosen.size} px with enough object and are left out"
        notes = (*notes, tallied(len(without), said, without[0]))
    if small:
        said = (
            f"images have no window of {chosen.size} px, as they are smaller beside the "
            f"{chosen.top:.0%} at the top and {chosen.left:.0%} at the left that "
            "are cut off, and are left out"
        )
        notes = (*notes, tallied(len(small), said, small[0]))
    return replace(content, images=tuple(images), notes=notes)


def _is_large_enough(shape: tuple[int, ...], rule: CropRule) -> bool:
    height, width = shape
    rows, columns = height - int(height * rule.top), width - int(width * rule.left)
    return min(rows, columns) >= rule.size


def _cut(image: FormatImage, window: Window, number: int) -> FormatImage:
    assert image.mask is not None
    return replace(
        image,
        name=f"{image.name}_crop{number}",
        picture=Picture(image.picture.path, image.picture.frame, window, image.picture.upright),
        # What lies in the window may be less than what the whole image holds.
        labels=None if image.labels is None or image.labels.present else Labels(),
        mask=CutMask(image.mask, window),
        context=None if image.context is None else CutMask(image.context, window),
        group=image.group or image.name,
    )
