"""Random rescale and crop: the view keeps its size, and what is missing is padding."""

import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from wsss_core.augmentation.sample import ImageViews
from wsss_core.tiling import nearest_places


def rescale_and_crop(
    sample: ImageViews, drawn: NDArray, factors: tuple[float, float]
) -> ImageViews:
    """Resize each image by a factor of its own and cut a view of the old size out of it.

    Images are resized bilinearly with antialiasing, as Pillow does; masks and weights take the
    pixel at the centre's place. A larger image is cropped and a smaller one is laid on padding, at
    a place that is drawn evenly among all places.

    Args:
        sample: B views of H x W pixels.
        drawn: float [B, 3] in 0..1: the factor between the two of `factors`, the row, the column.
        factors: lowest and highest factor.

    """
    lowest, highest = factors
    height, width = sample.images.shape[-2:]
    sizes = lowest + (highest - lowest) * drawn[:, 0]
    if (sizes < 1).any():
        sample = sample.with_valid()
    result = sample.empty_like()
    if sample.valid is None:
        result = result._replace(valid=None)
    for place, (factor, row, column) in enumerate(
        zip(sizes.tolist(), drawn[:, 1].tolist(), drawn[:, 2].tolist(), strict=True)
    ):
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        (above, rows), (left, columns) = (
            _window(height, size[0], row),
            _window(width, size[1], column),
        )
        resized = sample.images[place]
        if size != (height, width):
            resized = F.interpolate(resized[None], size, mode="bilinear", antialias=True)[0]
        result.images[place, :, rows, columns] = resized[:, above, left].clamp(0, 1)
        at = (
            torch.from_numpy(nearest_places(height, size[0])[above]).to(resized.device)[:, None],
            torch.from_numpy(nearest_places(width, size[1])[left]).to(resized.device),
        )
        for maps, into in (
            (sample.masks, result.masks),
            (sample.weights, result.weights),
            (sample.valid, result.valid),
        ):
            if maps is not None and into is not None:
                into[place, ..., rows, columns] = maps[place][..., *at]
    return result


def _window(side: int, resized: int, share: float) -> tuple[slice, slice]:
    """Return which pixels of the resized image are taken, and where they come to lie."""
    room = abs(resized - side)
    start = min(int(share * (room + 1)), room)
    kept = min(side, resized)
    moved, fixed = slice(start, start + kept), slice(0, kept)
    return (moved, fixed) if resized > side else (fixed, moved)
