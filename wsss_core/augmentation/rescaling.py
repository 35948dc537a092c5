"""Random rescale and crop: the view keeps its size, and what is missing is padding."""

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.augmentation.sample import Sample


def rescale_and_crop(sample: Sample, drawn: NDArray, factors: tuple[float, float]) -> Sample:
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
        rows, columns = _window(height, size[0], row), _window(width, size[1], column)
        for maps, into, smooth in (
            (sample.images, result.images, True),
            (sample.masks, result.masks, False),
            (sample.weights, result.weights, False),
            (sample.valid, result.valid, False),
        ):
            if maps is not None and into is not None:
                resized = _resized(maps[place], size, smooth)
                into[place, ..., rows[1], columns[1]] = resized[..., rows[0], columns[0]]
    return result


def _window(side: int, resized: int, share: float) -> tuple[slice, slice]:
    """Return which pixels of the resized image are taken, and where they come to lie."""
    room = abs(resized - side)
    start = min(int(share * (room + 1)), room)
    kept = min(side, resized)
    moved, fixed = slice(start, start + kept), slice(0, kept)
    return (moved, fixed) if resized > side else (fixed, moved)


def _resized(maps: Tensor, size: tuple[int, int], smooth: bool) -> Tensor:
    """Return maps [..., H, W] of one image at another size."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    if smooth:
        resized = F.interpolate(maps[None], size, mode="bilinear", antialias=True)[0]
        return resized.clamp(0, 1)
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    # uint8 and float32 alone have a nearest-exact kernel on every device.
    exact = flat.to(torch.float32)
    resized = F.interpolate(exact, size, mode="nearest-exact").to(maps.dtype)
    return resized.reshape(*maps.shape[:-2], *size)
