"""Laying a map whose cells do not share the image evenly over the image, once, where it is made."""

import torch
from torch import Tensor

from wsss_core.backbones import cells_span


def over_image(maps: Tensor, size: tuple[int, int], side: int | None) -> Tensor:
    """Return maps whose cells share the image evenly, so that they can be stretched over it.

    Maps that are so already are returned as they are. Others are interpolated bilinearly at smaller
    cells, a half or, of more than 16 px, a quarter as wide: at their own width the peaks between
    cells would be lost.

    Args:
        maps: float [N, K, h, w].
        size: (H, W) of the image in pixels.
        side: of a cell in pixels, see `wsss_core.backbones.cell_side`.

    Returns:
        float [N, K, h', w'].

    """
    grid = (maps.shape[-2], maps.shape[-1])
    spans = [cells_span(pixels, n, side) for pixels, n in zip(size, grid, strict=True)]
    if side is None or all(span == (0, p) for span, p in zip(spans, size, strict=True)):
        return maps
    finer = 2 if side <= 16 else 4
    rows, columns = (
        _weights(n, n * finer, span, pixels).to(maps)
        for n, span, pixels in zip(grid, spans, size, strict=True)
    )
    return torch.einsum("nkhw,ih,jw->nkij", maps, rows, columns)


def _weights(cells: int, places: int, span: tuple[float, float], pixels: int) -> Tensor:
    """Return the share of each cell in each place, float32 [places, cells]; rows sum to 1."""
    begin, end = span
    middles = (torch.arange(places) + 0.5) * (pixels / places)
    at = ((middles - begin) * (cells / (end - begin)) - 0.5).clamp(0, cells - 1)
    return (1 - (at[:, None] - torch.arange(cells)).abs()).clamp(min=0)
