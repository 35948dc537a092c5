"""Representations, which two networks are compared by (arXiv 2507.21959, transferred knowledge).

======================  ================  ========================================================
representation          map               vectors at the levels global / channel / spatial
======================  ================  ========================================================
feature                 [B, C, h, w]      whole map / each channel / each location
spatial_map             [B, 1, h, w]      the channel mean: whole map
gram                    [B, C, C, 1]      inner products of channels: all / rows / columns
activation_map          [B, K, h, w]      the class activation maps, as features
attention               [B, 1, h, w]      the attention that each location gets: whole map
logits                  [B, K, 1, 1]      the image's class scores (global only)
======================  ================  ========================================================

The grids of two Gram matrices need not meet: their entries are means over locations. Where the
channels of two maps do not meet, a learnable projection P, part of the student, brings them
together.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wsss_core.backbones import Output
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, load_plugin
from wsss_core.transfer.attention_maps import pseudo_attention
from wsss_core.transfer.group_linear import GroupLinear
from wsss_core.transfer.losses import bounded

Represent = Callable[[Tensor, Output], Tensor]
"""Features [B, C, h, w] (of the layer that is aligned, projected if they are) and all that the
network's output for the images, to the map that is compared."""


def spatial_map(features: Tensor) -> Tensor:
    """Return the mean over channels, float [B, 1, h, w].

    After a LayerNorm whose weights are all alike, as at the end of a ViT that starts at random, it
    is 0 up to rounding. See `steadied` for what the cosine does then.

    >>> spatial_map(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).item()
    2.0
    """
    return features.mean(1, keepdim=True)


LEAST_SHARE = 1e-3
"""The least size of a spatial map, as a share of its features' size, that the cosine's gradient
takes it at. The share is 0.5 for ReLU features, 0.02 or more for pretrained or projected ViTs, and
1e-8 for a LayerNorm with equal weights."""


def steadied(spatial: Tensor, features: Tensor) -> Tensor:
    """Return a spatial map whose gradient through a cosine is of a size that training survives.

    The cosine's gradient is that of the map's direction divided by the map's length. Where channels
    cancel out, the length is mere rounding. The first gradient would be some 1e7 times the later
    ones, and Adam's second moment would remember it for thousands of steps. So the gradient of an
    image whose map is less than `LEAST_SHARE` of its features is scaled by how much less it is. The
    value stays, and so does the gradient of every other image (it is multiplied by 1).

    Args:
        spatial: float [B, 1, h, w], the channel mean of the features.
        features: float [B, C, h, w].

    """
    if not spatial.requires_grad:
        return spatial
    own, whole = (
        maps.detach().float().flatten(1).square().mean(1).sqrt() for maps in (spatial, features)
    )
    share = torch.nan_to_num(own / (LEAST_SHARE * whole), nan=1.0).clamp(max=1.0)
    share = share.view(-1, 1, 1, 1).to(spatial.dtype)
    same = spatial.view_as(spatial)
    same.register_hook(lambda gradient: gradient * share)
    return same


def gram(features: Tensor) -> Tensor:
    """Return inner products of channels over locations, F F^T / L, float [B, C, C, 1].

    Features beyond `BOUND` are scaled down to it, whose products fit float32; those of float16
    are multiplied in float32.

    >>> gram(torch.tensor([[1.0, 1.0], [2.0, 0.0]]).view(1, 2, 1, 2)).flatten().tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    if features.dtype == torch.float16:
        features = features.float()
    flat = bounded(features).flatten(2)
    return (flat @ flat.transpose(1, 2) / flat.shape[-1]).unsqueeze(-1)


_OF: dict[str, Represent] = {
    "feature": lambda features, output: features,
    "spatial_map": lambda features, output: spatial_map(features),
    "gram": lambda features, output: gram(features),
    "activation_map": lambda features, output: output.activation_maps,
    "attention": lambda features, output: pseudo_attention(features),
    "logits": lambda features, output: output.logits[..., None, None],
}


def represent(name: str) -> Represent:
    """Return the function of a representation, built in or a plug-in.

    That of "attention" is a CNN's pseudo attention; a transformer's own attention is no function of
    its features, see `wsss_core.transfer.attention_maps`.
    """
    return load_plugin("representation", name) if is_plugin(name) else _OF[name]


def of_features(name: str) -> bool:
    """Return whether a representation is made of a layer's features (and may be of any layer)."""
    return is_plugin(name) or name in ("feature", "spatial_map", "gram", "attention")


def vector_length(shape: torch.Size, level: str) -> int:
    """Return how many numbers of a map [B, C, h, w] are compared as one vector at a level."""
    _, channels, height, width = shape
    return {
        "global": channels * height * width,
        "channel": height * width,
        "spatial": channels,
    }[level]


DEFAULT_PROJECTION = {"feature": "conv1x1", "gram": "conv1x1"}
"""The projection of a representation where none is named; the others have none."""


def build_projection(name: str, channels: int, target: int) -> nn.Module | None:
    """Build a projection [B, channels, h, w] -> [B, target, h, w]; None if there is none.

    Args:
        name: "conv1x1"; "mlp", two 1x1 convolutions with a GELU between, the first to `target`
            channels; "group_linear", see `wsss_core.transfer.group_linear`; "none"; or a plug-in,
            called with both numbers.
        channels: channels of the student's map.
        target: channels of the teacher's map.

    """
    if is_plugin(name):
        module = load_plugin("projection", name)(channels, target)
        if not isinstance(module, nn.Module):
            raise InputError(
                f"projection {name!r}: expected an nn.Module, got {type(module).__name__}"
            )
        return module
    if name == "none":
        return None
    if name == "group_linear":
        return GroupLinear(channels, target)
    if name == "mlp":
        return nn.Sequential(
            nn.Conv2d(channels, target, 1), nn.GELU(), nn.Conv2d(target, target, 1)
        )
    return nn.Conv2d(channels, target, 1)
