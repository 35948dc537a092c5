"""CAMs in the middle of a training: of several scales and flips, without gradient.

The raw maps of the linear head are enlarged to the image, the larger of an image's and its mirror
image's is taken, negative scores are 0, scales are added up, and each map is brought to 0..1. So do
AFA, ToCo, DuPL and their successors.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.backbones import Encoder, Network, cell_side, evaluating
from wsss_core.cams import listening, over_image, resized_for, scaled_size
from wsss_core.segmentation import resized
from wsss_core.single_stage.affinity import AttentionAffinity

_FLOOR = 1e-5
"""Added to a map's maximum before it divides, against maps of zeros."""


class MapsOnTheFly(NamedTuple):
    """What a network says of a batch at present.

    Attributes:
        maps: float [B, K, H, W] in 0..1, at the images' size.
        affinity: float [B, N, N], of the plain images at the largest scale; None if not asked for.
        grid: (h, w) of its N cells.

    """

    maps: Tensor
    affinity: Tensor | None
    grid: tuple[int, int]


@torch.no_grad()
def maps_on_the_fly(
    network: Network,
    images: Tensor,
    scales: Sequence[float],
    *,
    flip: bool,
    affinity: AttentionAffinity | None = None,
) -> MapsOnTheFly:
    """Return the CAMs of a batch, the network in evaluation mode meanwhile.

    Args:
        network: it is left in its own mode, and its statistics as they were.
        images: float [B, 3, H, W] in 0..1, square.
        scales: of the images' side, rounded to what the network takes.
        flip: whether mirror images take part.
        affinity: the affinity that is wanted too.

    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    encoder = network.encoder
    multiple = getattr(encoder, "size_multiple", 1)
    total: Tensor | None = None
    found: Tensor | None = None
    grid = (0, 0)
    with evaluating(network):
        for scale in scales:
            side = scaled_size(size[0], scale, multiple)
            shown = resized(images, (side, side))
            views = torch.cat([shown, shown.flip(-1)]) if flip else shown
            asked = affinity is not None and scale == max(scales)
            model = encoder.resizable if isinstance(encoder, Encoder) and side != size[0] else None
            with ExitStack() as stack:
                if model is not None:
                    stack.enter_context(resized_for(model, side))
                heard = stack.enter_context(listening(encoder)) if asked else []
                raw = network(views).activation_maps
            if affinity is not None and asked:
                grid = (int(raw.shape[-2]), int(raw.shape[-1]))
                found = affinity(heard, grid[0] * grid[1])[: len(images)]
            even = over_image(raw.float(), (side, side), cell_side(encoder))
            maps = resized(even, size)
            if flip:
                maps = torch.maximum(maps[: len(images)], maps[len(images) :].flip(-1))
            positive = F.relu(maps)
            total = positive if total is None else total + positive
    assert total is not None
    return MapsOnTheFly(scaled_to_unit(total), found, grid)


def scaled_to_unit(maps: Tensor) -> Tensor:
    """Return each map less its least value, divided by what then is its largest one + 1e-5."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / (maps.amax((-2, -1), keepdim=True) + _FLOOR)
