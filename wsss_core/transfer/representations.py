"""Representations, which two networks are compared by (arXiv 2507.21959, transferred knowledge).

======================  ================  ========================================================
representation          map               vectors at the levels global / channel / spatial
======================  ================  ========================================================
feature                 [B, C, h, w]      whole map / each channel / each location
spatial_map             [B, 1, h, w]      the channel mean: whole map
gram                    [B, C, C, 1]      inner products of channels: all / rows / columns
activation_map          [B, K, h, w]      the class activation maps, as features
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

Represent = Callable[[Tensor, Output], Tensor]
"""Features [B, C, h, w] (of the layer that is aligned, projected if they are) and all that the
network's output for the images, to the map that is compared."""


def spatial_map(features: Tensor) -> Tensor:
    """Return the mean over channels, float [B, 1, h, w].

    After a LayerNorm whose weights are all alike, as at the end of a ViT that starts at random, it
    is 0 up to rounding. The cosine's first gradient is then some 1e7 times that of other losses,
    which Adam remembers for hundreds of steps; pretrained weights or a projection have none of it.

    >>> spatial_map(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).item()
    2.0
    """
    return features.mean(1, keepdim=True)


def gram(features: Tensor) -> Tensor:
    """Return inner products of channels over locations, F F^T / L, float [B, C, C, 1].

    >>> gram(torch.tensor([[1.0, 1.0], [2.0, 0.0]]).view(1, 2, 1, 2)).flatten().tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    flat = features.flatten(2)
    return (flat @ flat.transpose(1, 2) / flat.shape[-1]).unsqueeze(-1)


_OF: dict[str, Represent] = {
    "feature": lambda features, output: features,
    "spatial_map": lambda features, output: spatial_map(features),
    "gram": lambda features, output: gram(features),
    "activation_map": lambda features, output: output.activation_maps,
    "logits": lambda features, output: output.logits[..., None, None],
}


def represent(name: str) -> Represent:
    """Return the function of a representation, built in or a plug-in."""
    return load_plugin("representation", name) if is_plugin(name) else _OF[name]


def of_features(name: str) -> bool:
    """Return whether a representation is made of a layer's features (and may be of any layer)."""
    return is_plugin(name) or name in ("feature", "spatial_map", "gram")


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
            channels; "none"; or a plug-in, called with both numbers.
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
    if name == "mlp":
        return nn.Sequential(
            nn.Conv2d(channels, target, 1), nn.GELU(), nn.Conv2d(target, target, 1)
        )
    return nn.Conv2d(channels, target, 1)
