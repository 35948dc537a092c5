"""Heads over a frozen encoder that tell which neighbours belong together: AffinityNet, and edges.

AffinityNet: Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for
Weakly Supervised Semantic Segmentation" (PSA), CVPR 2018, "Learning AffinityNet": several layers,
each through a 1x1 convolution, side by side through one more; the affinity of two locations is
exp(-mean absolute difference of their features). The paper trains the encoder too; here it stays
the classifier's, and any CNN or ViT serves.

The boundary branch of IRN: Ahn, Cho & Kwak, "Weakly Supervised Learning of Instance Segmentation
with Inter-pixel Relations" (IRN), CVPR 2019, "Class boundary detection branch": a head over all
stages predicts an edge map; the affinity of two pixels is 1 - the highest edge on the straight path
between them. It learns from the same pairs, with the same loss. The displacement field, which
separates instances, is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsss_core.errors import InputError
from wsss_core.refine.affinity.random_walk import (
    Offset,
    half_disc,
    moved,
    pixels_with_partner,
    random_walk,
)
from wsss_core.refine.affinity.training import (
    PairHead,
    at_grid,
)

_Cells = tuple[slice, slice, slice]
"""Images, rows and columns."""


class AffinityNet(PairHead):
    """Maps of tapped layers to one feature map on the affinity grid.

    Args:
        channels: channels of each tapped layer, lowest first.
        widths: channels of each layer's 1x1 convolution; of more widths than layers the last count.

    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        used = list(widths)[-len(channels) :]
        self.reduce = nn.ModuleList(
            nn.Conv2d(c, width, 1, bias=False) for c, width in zip(channels, used, strict=True)
        )
        self.mix = nn.Conv2d(sum(used), sum(used), 1, bias=False)
        for layer in self.reduce:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.mix.weight, gain=4)  # PSA's

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Return features float [B, C, h, w] on the grid of each layer's map [B, C', h', w']."""
        reduced = [
            F.elu(_reduced(layer, map_, grid))
            for layer, map_ in zip(self.reduce, maps, strict=True)
        ]
        return F.elu(self.mix(torch.cat(reduced, dim=1)))

    def pair_affinity(self, maps: Sequence[Tensor], grid: tuple[int, int], radius: int) -> Tensor:
        """See `feature_affinity`."""
        return feature_affinity(self(maps, grid), radius)

    def read(self, run: Callable[[Tensor], Tensor], inputs: Tensor, radius: int) -> Tensor:
        """Return `feature_affinity`, which `random_walk` takes."""
        return feature_affinity(run(inputs), radius)


def feature_affinity(features: Tensor, radius: int) -> Tensor:
    """Return exp(-mean_c |f_ic - f_jc|) of all pairs less than `radius` apart.

    Args:
        features: float [B, C, h, w].
        radius: 1 or more.

    Returns:
        float [B, N, h, w] in 0..1, one map an offset of `half_disc(radius)`; 0 where the partner
        lies off the grid.

    """
    channels_last = features.permute(0, 2, 3, 1).contiguous()
    maps: Tensor = _FeatureAffinity.apply(channels_last, radius)
    return maps.transpose(0, 1)


_BLOCK = 1 << 17
"""Values of a block of differences on a CPU: it stays in the second-level cache."""


class _FeatureAffinity(torch.autograd.Function):
    """`feature_affinity` of features [B, h, w, C], [N, B, h, w], and its gradient.

    Autograd would keep N feature maps, or make them anew, and go over each some twenty times. Here
    differences are made block by block in both directions, and the gradient is added in place.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, radius: int) -> Tensor:
        """Return the affinities; see the class."""
        maps = features.new_zeros(len(half_disc(radius)), *features.shape[:3])
        for number, here, there in _blocks(features, radius):
            difference = features[here] - features[there]
            maps[number][here] = difference.abs_().mean(-1).neg_().exp_()
        ctx.save_for_backward(features, maps)
        ctx.radius = radius
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the features' gradient; where two are equal it is 0, as of the absolute value."""
        features, maps = ctx.saved_tensors
        found = torch.zeros_like(features)
        scale = (gradient * maps / -features.shape[-1])[..., None]
        for number, here, there in _blocks(features, ctx.radius):
            sign = (features[here] - features[there]).sign_().mul_(scale[number][here])
            found[here] += sign
            found[there] -= sign
        return found, None


def _blocks(features: Tensor, radius: int) -> Iterator[tuple[int, _Cells, _Cells]]:
    """Yield blocks of pairs of features [B, h, w, C]: the offset's number, places of both."""
    batch, height, width, channels = features.shape
    most = _BLOCK if features.device.type == "cpu" else features.numel()
    rows = max(1, min(height, most // (width * channels)))
    images = max(1, most // (height * width * channels)) if rows == height else 1
    for first, top in product(range(0, batch, images), range(0, height, rows)):
        for number, offset in enumerate(half_disc(radius)):
            own_rows, columns = pixels_with_partner(offset, height, width)
            here = slice(top, min(top + rows, own_rows.stop)), columns
            if here[0].start < here[0].stop and columns.start < columns.stop:
                some = slice(first, first + images)
                yield number, (some, *here), (some, *moved(here, offset))


def _reduced(layer: nn.Module, map_: Tensor, grid: tuple[int, int]) -> Tensor:
    """Convolve on the coarser of both grids; without a bias it commutes with resizing."""
    if map_.shape[-2:].numel() > grid[0] * grid[1]:
        return layer(at_grid(map_, grid))
    return at_grid(layer(map_), grid)


_GROUPS = 4  # of IRN's GroupNorm


class BoundaryNet(PairHead):
    """Maps of tapped layers to the logits of an edge map.

    Args:
        channels: channels of each tapped layer, lowest first.
        widths: channels of each layer's 1x1 convolution, multiples of 4; of more widths than layers
            the last count.

    Raises:
        InputError: a width that is no multiple of 4.

    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        used = list(widths)[-len(channels) :]
        if any(width % _GROUPS for width in used):
            raise InputError(f"widths are {tuple(widths)}; expected multiples of {_GROUPS}")
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.GroupNorm(_GROUPS, width))
            for c, width in zip(channels, used, strict=True)
        )
        self.edge = nn.Conv2d(sum(used), 1, 1)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Return logits float [B, 1, h, w] on the grid of each layer's map [B, C', h', w']."""
        reduced = [
            F.relu(at_grid(layer(map_), grid))
            for layer, map_ in zip(self.reduce, maps, strict=True)
        ]
        return self.edge(torch.cat(reduced, dim=1))

    def pair_affinity(self, maps: Sequence[Tensor], grid: tuple[int, int], radius: int) -> Tensor:
        """Return 1 - the highest edge on the path between the two, see `path_maximum`."""
        return 1 - path_maximum(self(maps, grid).sigmoid(), half_disc(radius))

    def read(self, run: Callable[[Tensor], Tensor], inputs: Tensor, radius: int) -> Tensor:
        """Return edge maps [B, 1, h, w] in 0..1, of the mean logit of an image and its mirror."""
        mirrored = run(inputs.flip(-1)).flip(-1)
        return (run(inputs) / 2 + mirrored / 2).sigmoid()


train_affinity, train_boundary = AffinityNet.trained, BoundaryNet.trained


@cache
def straight_path(offset: Offset) -> tuple[Offset, ...]:
    """Return the pixels between (0, 0) and (dy, dx), both included, as IRN takes them.

    Those within the rectangle that the two span whose centre is less than 1 from the line.

    Example:
        >>> straight_path((0, 2))
        ((0, 0), (0, 1), (0, 2))
        >>> straight_path((1, -1))
        ((0, -1), (0, 0), (1, -1), (1, 0))

    """
    dy, dx = offset
    return tuple(
        (y, x)
        for y in range(dy + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    )


def path_maximum(edge: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Return the highest edge on the straight path from each pixel to each partner.

    Args:
        edge: float [B, 1, h, w].
        offsets: N of them, dy >= 0, such as `half_disc(radius)`.

    Returns:
        float [B, N, h, w] of the edge's dtype; 1 where the partner lies off the grid, as IRN pads.

    """
    if edge.ndim != 4 or edge.shape[1] != 1:
        raise InputError(f"path_maximum expects an edge map [B, 1, h, w]; got {list(edge.shape)}")
    height, width = edge.shape[-2:]
    maps = []
    for offset in offsets:
        here = pixels_with_partner(offset, height, width)
        rows, columns = here
        along = [edge[:, 0, y, x] for y, x in (moved(here, step) for step in straight_path(offset))]
        # `max` keeps where it was found for the gradient, not the whole path.
        highest = torch.stack(along).max(0).values
        around = (columns.start, width - columns.stop, 0, height - rows.stop)
        maps.append(F.pad(highest, around, value=1.0))
    if not maps:
        return edge.new_empty(len(edge), 0, height, width)
    return torch.stack(maps, dim=1)


def boundary_walk(
    scores: Tensor, edge: Tensor, *, radius: int, beta: float, squarings: int
) -> Tensor:
    """Walk scores times 1 - edge over 1 - the highest edge on the path, as IRN does.

    Args:
        scores: float [B, K, h, w].
        edge: float [B, 1, h, w] in 0..1.
        radius: pairs less than this apart are walked.
        beta: exponent of the affinity.
        squarings: the walk takes 2^squarings steps.

    """
    affinity = 1 - path_maximum(edge, half_disc(radius))
    return random_walk(scores * (1 - edge), affinity, beta=beta, squarings=squarings)
