"""Colour jitter: brightness, contrast, saturation and hue of each image, in an order of its own."""

from collections.abc import Callable

import torch
from numpy.typing import NDArray
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)
"""The shares of red, green and blue in a grey value, as torchvision's (ITU-R BT.601)."""


def jitter_colours(
    images: Tensor, drawn: NDArray, strengths: tuple[float, float, float, float]
) -> Tensor:
    """Change the colours of each image as torchvision's `ColorJitter` does, drawn for each.

    Args:
        images: float [B, 3, H, W] in 0..1.
        drawn: float [B, 8] in 0..1: four that the order of the changes follows from, then one for
            each change.
        strengths: of brightness, contrast and saturation, whose factors lie in 1 - s..1 + s, and of
            hue, which moves by -s..s of the circle.

    Returns:
        float [B, 3, H, W] in 0..1.

    """
    order = torch.from_numpy(drawn[:, :4].argsort(axis=1, kind="stable"))
    factors = torch.from_numpy(2 * drawn[:, 4:] - 1) * torch.tensor(strengths).double()
    factors[:, :3] += 1
    factors = factors.to(images)
    for turn in range(4):
        for number, (change, strength) in enumerate(zip(_CHANGES, strengths, strict=True)):
            chosen = (order[:, turn] == number).nonzero()[:, 0].to(images.device)
            if strength and len(chosen):
                changed = change(images[chosen], factors[chosen, number].view(-1, 1, 1, 1))
                images = images.index_copy(0, chosen, changed)
    return images


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, 1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _brighter(images: Tensor, factors: Tensor) -> Tensor:
    return (images * factors).clamp(0, 1)


def _contrasted(images: Tensor, factors: Tensor) -> Tensor:
    # In double precision, so that the mean does not depend on how many images are taken at once.
    mean = _grey(images).double().mean((1, 2, 3), keepdim=True).to(images)
    return (images * factors + mean * (1 - factors)).clamp(0, 1)


def _saturated(images: Tensor, factors: Tensor) -> Tensor:
    return (images * factors + _grey(images) * (1 - factors)).clamp(0, 1)


def _turned(images: Tensor, shares: Tensor) -> Tensor:
    """Move the hue by a share of the circle, in HSV."""
    value, at = images.max(1, keepdim=True)
    chroma = value - images.min(1, keepdim=True).values
    grey = chroma == 0
    safe = chroma.masked_fill(grey, 1)
    red, green, blue = images.split(1, 1)
    sextants = torch.where(
        at == 0,
        (green - blue) / safe,
        torch.where(at == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sextants = sextants.masked_fill(grey, 0) + 6 * shares
    # Each channel falls from the value by the chroma as the hue moves away from it.
    away = (sextants + sextants.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)) % 6
    return value - chroma * torch.minimum(away, 4 - away).clamp(0, 1)


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brighter,
    _contrasted,
    _saturated,
    _turned,
)
