"""CAMs weighted by a transformer's attention, after TransCAM (Li et al., 2022, arXiv 2203.07239).

There, the CAM of a convolutional branch is multiplied by the attention of a transformer branch: a
location takes the scores of those its patch attends to. The attention is the mean over heads,
summed over blocks, between patches alone: class and register tokens take their share of the softmax
and are left out after it. Here the CAM is the transformer's own.

The attention is that of `wsss_core.backbones.attending`. Attention within windows (SAM) stays
within them. Blocks in which the class token alone asks (CaiT) have no weights between patches, and
take no part.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_core.backbones.attending import Attention, WindowAttention, attending_model, listening
from wsss_core.errors import InputError


def attention_weighted(maps: Tensor, attention: Sequence[Attention], prefix: int) -> Tensor:
    """Multiply maps by the sum over blocks of the mean over heads of patch-to-patch attention.

    Args:
        maps: float [B, K, h, w], raw scores; h * w = L patches.
        attention: every block's attention, between L patches or `prefix` tokens more.
        prefix: how many tokens come before the patches, where there are any before them.

    Returns:
        float [B, K, h, w]; the scores grow with the number of blocks.

    """
    flat = maps.flatten(2)
    total = torch.zeros_like(maps)
    for block in attention:
        if isinstance(block, WindowAttention):
            total = total + block.spread_over(maps)
        else:
            before = 0 if block.tokens == flat.shape[-1] else prefix
            total = total + block.spread(flat, before).unflatten(2, maps.shape[-2:])
    return total


def attention_cams(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention-weighted CAMs of a transformer of this package, without gradient.

    Args:
        network: a `wsss_core.backbones.Network` over a transformer.
        images: float [B, 3, H, W], RGB in 0..1.

    Returns:
        Raw maps float [B, K, h, w] and logits float [B, K].

    Raises:
        InputError: a network whose blocks do not all attend between the patches of its map.

    """
    encoder = network.encoder
    model = attending_model(encoder)
    with torch.no_grad():
        with listening(encoder) as heard:
            output = network(images)
        maps = output.activation_maps
        prefix = int(getattr(model, "num_prefix_tokens", 0))
        return attention_over(maps, heard, prefix, len(encoder.layers)), output.logits


def attention_over(maps: Tensor, heard: Sequence[Attention], prefix: int, blocks: int) -> Tensor:
    """Multiply maps by the attention of a pass, see `attention_weighted`.

    Args:
        maps: float [B, K, h, w], raw scores.
        heard: what `listening` heard.
        prefix: how many tokens come before the patches.
        blocks: how many blocks the network has.

    Raises:
        InputError: not all blocks attend between the patches of the maps.

    """
    between = [block for block in heard if block.is_between(maps, prefix)]
    if len(between) < blocks:
        raise InputError(
            f"method attention: expected each of the {blocks} blocks to attend "
            f"between the {maps.shape[-2]} x {maps.shape[-1]} patches of the map, found "
            f"{len(between)}; class_weight, grad_cam and layer_cam do without"
        )
    return attention_weighted(maps, between, prefix)
