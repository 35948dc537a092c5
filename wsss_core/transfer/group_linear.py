"""The group-wise linear projector.

Liu et al., "Cross-Architecture Knowledge Distillation", arXiv 2207.05273, section 3.2. It maps each
location of a CNN's features to the teacher's channels. Locations of one neighbourhood share a
linear layer, so that the projector can do at one place what it does not do at another, as tokens
with position embeddings ask for. The paper compares the result by the mean squared error: metric
L2, level global.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

_REGIONS = 4
"""Neighbourhoods along each side of a map: 16 layers, as in the paper."""


class GroupLinear(nn.Module):
    """A linear layer for each of 4 x 4 neighbourhoods of a map.

    The paper has grids of 16 x 16 and neighbourhoods of 4 x 4 locations. Here there are always
    4 x 4 neighbourhoods, whatever the grid, so that a projector has the same parameters for images
    of all sizes. The paper's dropout is left out.

    Args:
        channels: C of the student's map.
        target: C' of the teacher's map.
        regions: neighbourhoods along each side.

    """

    def __init__(self, channels: int, target: int, regions: int = _REGIONS) -> None:
        super().__init__()
        self.regions = regions
        self.layers = nn.ModuleList(nn.Linear(channels, target) for _ in range(regions**2))

    def forward(self, maps: Tensor) -> Tensor:
        """Return float [B, C', h, w] of maps float [B, C, h, w]."""
        rows, columns = (_bounds(cells, self.regions) for cells in maps.shape[-2:])
        layers = iter(self.layers)
        bands = [
            torch.cat(
                [
                    next(layers)(maps[..., top:bottom, left:right].movedim(1, -1)).movedim(-1, 1)
                    for left, right in columns
                ],
                -1,
            )
            for top, bottom in rows
        ]
        return torch.cat(bands, -2)


def _bounds(cells: int, regions: int) -> list[tuple[int, int]]:
    """Return first and last border of each region: cell i lies in region `regions * i // cells`."""
    starts = [-(-region * cells // regions) for region in range(regions + 1)]
    return [*pairwise(starts)]
