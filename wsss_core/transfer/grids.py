"""Two maps whose cells stand for other pixels of the same images, brought onto the same places."""

import torch
from torch import Tensor

from wsss_core.backbones import cells_span


def over_same_pixels(
    one: Tensor, other: Tensor, sides: tuple[int | None, int | None], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return two maps of the same images whose cells stand for the same pixels.

    A ResNet's 4 cells for 100 px stand for 128 px, the 10 patches of a ViT for 100. Stretched over
    each other, the last row of the one meets what lies beyond the image in the other. So the map of
    fewer cells is read, bilinearly, at the middles of the other's cells. Maps that stand for the
    same pixels already are returned as they are.

    Args:
        one: float [B, C, h, w].
        other: float [B, C', h', w'] of the same device.
        sides: of a cell of each in pixels, see `wsss_core.backbones.cell_side`.
        size: (H, W) of the images in pixels.

    """
    spans = [
        [
            cells_span(pixels, cells, side)
            for pixels, cells in zip(size, map_.shape[-2:], strict=True)
        ]
        for map_, side in zip((one, other), sides, strict=True)
    ]
    if spans[0] == spans[1]:
        return one, other
    if one.shape[-2:].numel() < other.shape[-2:].numel():
        return _read_at(one, spans[0], other.shape[-2:], spans[1]), other
    return one, _read_at(other, spans[1], one.shape[-2:], spans[0])


def on_grid_of(
    maps: Tensor,
    other: Tensor,
    sides: tuple[int | None, int | None],
    size: tuple[int, int] | None,
) -> Tensor:
    """Return maps at the middles of the cells of another map, read bilinearly.

    Args:
        maps: float [B, C, h, w].
        other: float [B, C', h', w'] of the same images.
        sides: of a cell of each in pixels, see `wsss_core.backbones.cell_side`.
        size: (H, W) of the images in pixels; None: both maps stand for the whole image.

    Returns:
        float [B, C, h', w']; maps that stand for the same pixels already are returned as they are.

    """
    spans, aims = (
        [
            (0.0, 1.0) if size is None else cells_span(pixels, cells, side)
            for pixels, cells in zip(size or (1, 1), one.shape[-2:], strict=True)
        ]
        for one, side in zip((maps, other), sides, strict=True)
    )
    if spans == aims and maps.shape[-2:] == other.shape[-2:]:
        return maps
    return _read_at(maps, spans, other.shape[-2:], aims)


def _read_at(
    coarse: Tensor,
    spans: list[tuple[float, float]],
    grid: torch.Size,
    fine_spans: list[tuple[float, float]],
) -> Tensor:
    """Return a map [B, C, h, w] at the middles of another grid's cells, [B, C, h', w'].

    Half precision is read in float32.
    """
    with torch.autocast(coarse.device.type, enabled=False):
        coarse = coarse.float() if coarse.dtype in (torch.float16, torch.bfloat16) else coarse
        rows, columns = (
            _shares(cells, span, places, over).to(coarse)
            for cells, span, places, over in zip(
                coarse.shape[-2:], spans, grid, fine_spans, strict=True
            )
        )
        return torch.einsum("bchw,ih,jw->bcij", coarse, rows, columns)


def _shares(
    cells: int, span: tuple[float, float], places: int, over: tuple[float, float]
) -> Tensor:
    """Return the share of each cell in each place, float32 [places, cells]; rows sum to 1."""
    middles = over[0] + (torch.arange(places) + 0.5) * ((over[1] - over[0]) / places)
    at = ((middles - span[0]) * (cells / (span[1] - span[0])) - 0.5).clamp(0, cells - 1)
    return (1 - (at[:, None] - torch.arange(cells)).abs()).clamp(min=0)
