"""Maps of padded views: what is compared is the part of them that stands for pixels of an image.

A metric that looks at each image by itself sees the cells that are no padding, as if the image had
no others. A relation between images sees maps that are 0 on padding, of which nothing is left in
inner products; they are scaled so that a mean over all cells is the mean over those that count.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from wsss_core.transfer.losses import on_one_grid

HALF = 0.5
"""A cell counts from this share of pixels that are no padding."""


def chosen_cells(weights: Tensor) -> Tensor:
    """Return which cells count, bool [B, h, w], one or more for each image.

    Args:
        weights: float [B, 1, h, w], see `wsss_core.backbones.cell_weights`. Where no cell reaches
            a half, the fullest ones count.

    """
    fullest = weights.amax((-2, -1), keepdim=True)
    return (weights >= fullest.clamp(max=HALF))[:, 0]


def without_padding(maps: Tensor, cells: Tensor, *, of: str = "products") -> Tensor:
    """Return maps that are 0 on padding, scaled so that means over cells leave it out.

    Args:
        maps: float [B, C, h, w].
        cells: bool [B, h, w], see `chosen_cells`.
        of: "products" of two maps, as in Gram matrices and inner products of images, whose means
            are then those of the cells that count; or "values", as in an image's embedding.

    """
    scale = cells[0].numel() / cells.flatten(1).sum(1).clamp_min(1)
    scale = (scale if of == "values" else scale.sqrt()).view(-1, 1, 1, 1).to(maps.dtype)
    return torch.where(cells.unsqueeze(1), maps * scale, 0)


def by_image(
    student: Tensor, teacher: Tensor, cells: tuple[Tensor, Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield two maps [1, C, n, 1] of each image, on the n cells of the finer grid that count.

    An image of a single cell is left out where the grid has more: a cosine or an attention of one
    location says nothing.

    Args:
        student: float [B, C, h, w].
        teacher: float [B, C', h', w'].
        cells: bool [B, h, w] and [B, h', w'].

    """
    finer = cells[0] if cells[0][0].numel() >= cells[1][0].numel() else cells[1]
    student, teacher = on_one_grid(student, teacher, same_channels=False)
    fewest = min(2, finer[0].numel())
    for own, other, counted in zip(student, teacher, finer, strict=True):
        if counted.sum() >= fewest:
            yield own[:, counted][None, ..., None], other[:, counted][None, ..., None]
