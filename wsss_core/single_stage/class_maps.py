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
from torch import Tensor, nn

from wsss_core.backbones import Encoder, Layer, Network, cell_side, evaluating
from wsss_core.backbones.attending import listening
from wsss_core.cams import over_image, resized_for, scaled_size
from wsss_core.segmentation import resized
from wsss_core.single_stage.affinity import AttentionAffinity

_FLOOR = 1e-5
"""Added to a map's maximum before it divides, against maps of zeros."""


class AuxiliaryClassifier(nn.Module):
    """A linear layer without bias on the tokens of an inner layer, pooled as those of the network.

    So do ToCo and DuPL. Its CAM is less smooth than the last layer's, whose tokens have become
    alike, and labels the tokens that are contrasted.

    Args:
        network: the network.
        layer: which of its layers.

    """

    def __init__(self, network: Network, layer: Layer) -> None:
        super().__init__()
        self.layer, self.pooling = layer, network.pooling
        self.head = nn.Linear(network.channels_at(layer), network.classes, bias=False)

    def maps(self, tokens: Tensor) -> Tensor:
        """Return raw class maps [B, K, h, w] of the layer's map [B, C, h, w]."""
        return torch.einsum("bchw,kc->bkhw", tokens, self.head.weight)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return logits [B, K] of the layer's map [B, C, h, w]."""
        pooled = tokens.amax((-2, -1)) if self.pooling == "max" else tokens.mean((-2, -1))
        found: Tensor = self.head(pooled)
        return found


class MapsOnTheFly(NamedTuple):
    """What a network says of a batch at present.

    Attributes:
        maps: float [B, K, H, W] in 0..1, at the images' size.
        affinity: float [B, N, N], of the plain images at the largest scale; None if not asked for.
        grid: (h, w) of its N cells.
        auxiliary: as `maps`, of an inner layer's classifier; None if not asked for.

    """

    maps: Tensor
    affinity: Tensor | None
    grid: tuple[int, int]
    auxiliary: Tensor | None = None


@torch.no_grad()
def maps_on_the_fly(
    network: Network,
    images: Tensor,
    scales: Sequence[float],
    *,
    flip: bool,
    affinity: AttentionAffinity | None = None,
    auxiliary: AuxiliaryClassifier | None = None,
) -> MapsOnTheFly:
    """Return the CAMs of a batch, the network in evaluation mode meanwhile.

    Args:
        network: it is left in its own mode, and its statistics as they were.
        images: float [B, 3, H, W] in 0..1, square.
        scales: of the images' side, rounded to what the network takes.
        flip: whether mirror images take part.
        affinity: the affinity that is wanted too.
        auxiliary: the classifier of an inner layer whose maps are wanted too.

    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    encoder = network.encoder
    multiple = getattr(encoder, "size_multiple", 1)
    taps = () if auxiliary is None else (auxiliary.layer,)
    totals: list[Tensor] = []
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
                output = network(views, taps)
            raws = [output.activation_maps]
            if auxiliary is not None:
                raws.append(auxiliary.maps(output.taps[0]))
            if affinity is not None and asked:
                grid = (int(raws[0].shape[-2]), int(raws[0].shape[-1]))
                found = affinity(heard, grid[0] * grid[1])[: len(images)]
            layers = (None, *taps)
            each = [
                _enlarged(raw, (side, side), cell_side(encoder, layer), size, flip=flip)
                for raw, layer in zip(raws, layers, strict=True)
            ]
            totals = [a + b for a, b in zip(totals, each, strict=True)] if totals else each
    unit = [scaled_to_unit(total) for total in totals]
    return MapsOnTheFly(unit[0], found, grid, unit[1] if taps else None)


def _enlarged(
    raw: Tensor, shown: tuple[int, int], cell: int | None, size: tuple[int, int], *, flip: bool
) -> Tensor:
    """Return raw maps at the images' size, the larger of an image's and its mirror's, positive."""
    maps = resized(over_image(raw.float(), shown, cell), size)
    if flip:
        half = len(maps) // 2
        maps = torch.maximum(maps[:half], maps[half:].flip(-1))
    return F.relu(maps)


def scaled_to_unit(maps: Tensor) -> Tensor:
    """Return each map less its least value, divided by what then is its largest one + 1e-5."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / (maps.amax((-2, -1), keepdim=True) + _FLOOR)
