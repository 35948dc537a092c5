"""Attention maps as a representation: how much of the network's attention each location gets.

Of a transformer it is the attention that a block's patches receive from all patches, of a CNN the
pseudo attention of a layer. So both kinds of network have a map [B, 1, h, w] that can be compared.
"""

import torch
from torch import Tensor

from wsss_core.backbones import Output
from wsss_core.transfer.losses import SHORTEST, bounded


def pseudo_attention(features: Tensor, *, power: float = 2.0) -> Tensor:
    """Return the pseudo attention of a layer, `sum_c |F_c|^p` at each location, of mean 1.

    F_sum^p of Zagoruyko and Komodakis, "Paying More Attention to Attention", arXiv 1612.03928,
    section 3.1.

    Args:
        features: float [B, C, h, w].
        power: p, 1 or more; 2 is the paper's choice.

    Returns:
        float [B, 1, h, w], 0 or more, in float32 of half precision. It does not change with the
        scale of an image's features. Features that are nowhere above 1e-8 have the attention 0.

    >>> pseudo_attention(torch.tensor([[[[1.0, 3.0]], [[1.0, 3.0]]]])).flatten().tolist()
    [0.20000000298023224, 1.7999999523162842]
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    features = bounded(features)
    largest = features.detach().abs().amax((1, 2, 3), keepdim=True)
    none = largest <= SHORTEST
    # Powers of numbers of at most 1 fit; the divisor changes nothing, as the mean is 1 in the end.
    scaled = (features / largest.masked_fill(none, 1.0)).masked_fill(none, 0.0)
    return of_mean_one(scaled.abs().pow(power).sum(1, keepdim=True))


def attention_map(output: Output, block: int) -> Tensor:
    """Return the attention that patches receive in a block, of mean 1, float [B, 1, h, w].

    Args:
        output: with its `attention`, see `wsss_core.backbones.attending`.
        block: its number; -1 is the last.

    """
    grid = (output.features.shape[-2], output.features.shape[-1])
    return of_mean_one(output.attention[block].received(grid))


def of_mean_one(maps: Tensor, cells: Tensor | None = None) -> Tensor:
    """Divide maps [B, 1, h, w] of numbers of 0 or more by their mean; those of only 0 stay.

    Their sum is the number of locations, so differences do not shrink as the grid grows.

    Args:
        maps: to be divided.
        cells: bool [B, h, w], those that are no padding; the others become 0. None: all.

    """
    counted: Tensor | int = maps.shape[-2] * maps.shape[-1]
    if cells is not None:
        maps = torch.where(cells.unsqueeze(1), maps, 0)
        counted = cells.sum((-2, -1)).clamp_min(1).view(-1, 1, 1, 1)
    mean = maps.sum((-2, -1), keepdim=True) / counted
    return maps / mean.masked_fill(mean == 0, 1.0)
