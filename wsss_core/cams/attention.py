"""CAMs weighted by a ViT's attention, after TransCAM (Li et al., 2022, arXiv 2203.07239).

There, the CAM of a convolutional branch is multiplied by the attention of a transformer branch: a
location takes the scores of those its patch attends to. The attention is the mean over heads,
summed over blocks, between patches alone: class and register tokens take their share of the softmax
and are left out after it. Here the CAM is the ViT's own.

Queries and keys are read where the network calls `scaled_dot_product_attention`, so they are what
the network used, with its normalisation of both, rotary embedding and relative positions, and its
fused kernel and result stay as they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from wsss_core.backbones import PatchTokens
from wsss_core.errors import InputError


class SelfAttention(NamedTuple):
    """One block's attention, as it was asked for.

    Attributes:
        query: float [B, heads, T, d] of T tokens, the last L of them patches.
        key: float [B, heads, T, d].
        bias: float [B or 1, heads or 1, T, T], added before the softmax; or None.
        scale: factor of the product of query and key; None: d ** -0.5.

    """

    query: Tensor
    key: Tensor
    bias: Tensor | None
    scale: float | None

    def spread(self, maps: Tensor, prefix: int) -> Tensor:
        """Multiply maps float [B, K, L] by the mean over heads between patches: [B, K, L].

        Of that mean, float [B, L, L], a row sums to 1 at most; it is never held. The maps stand
        where values would; the prefix tokens have the score 0.

        Args:
            maps: a score for each class and patch.
            prefix: how many tokens come before the patches.

        """
        heads, width = self.query.shape[1], self.query.shape[-1]
        # Values as wide as keys: fused kernels take no others.
        value = maps.new_zeros(len(maps), self.key.shape[-2], max(width, maps.shape[1]))
        value[:, prefix:, : maps.shape[1]] = maps.transpose(1, 2)
        spread = F.scaled_dot_product_attention(
            self.query[:, :, prefix:],
            self.key,
            value[:, None].expand(-1, heads, -1, -1),
            None if self.bias is None else self.bias[..., prefix:, :],
            scale=self.scale,
        )
        return spread.mean(1)[..., : maps.shape[1]].transpose(1, 2)


class _Listening(TorchFunctionMode):
    def __init__(self, heard: list[SelfAttention]) -> None:
        super().__init__()
        self.heard = heard

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.heard.append(_as_asked(*args, **kwargs))
        return func(*args, **kwargs)


def _as_asked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *ignored: Any,
    scale: float | None = None,
    **others: Any,
) -> SelfAttention:
    return SelfAttention(query, key, attn_mask, scale)


@contextmanager
def listening(encoder: PatchTokens) -> Iterator[list[SelfAttention]]:
    """Yield the attention of every block that runs meanwhile, in order.

    Blocks that would attend step by step (`TIMM_FUSED_ATTN=0`) do so fused meanwhile, which differs
    by rounding alone.
    """
    apart: list[Any] = [m for m in encoder.modules() if getattr(m, "fused_attn", True) is False]
    heard: list[SelfAttention] = []
    for module in apart:
        module.fused_attn = True
    try:
        with _Listening(heard):
            yield heard
    finally:
        for module in apart:
            module.fused_attn = False


def attention_weighted(maps: Tensor, attention: Sequence[SelfAttention], prefix: int) -> Tensor:
    """Multiply maps by the sum over blocks of the mean over heads of patch-to-patch attention.

    Args:
        maps: float [B, K, h, w], raw scores; h * w = L patches.
        attention: every block's attention.
        prefix: how many tokens come before the patches.

    Returns:
        float [B, K, h, w]; the scores grow with the number of blocks.

    """
    flat = maps.flatten(2)
    total = torch.zeros_like(flat)
    for block in attention:
        total = total + block.spread(flat, prefix)
    return total.unflatten(2, maps.shape[-2:])


def attention_cams(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention-weighted CAMs of a ViT of this package, without gradient.

    Args:
        network: a `wsss_core.backbones.Network` over a ViT.
        images: float [B, 3, H, W], RGB in 0..1.

    Returns:
        Raw maps float [B, K, h, w] and logits float [B, K].

    Raises:
        InputError: a ViT whose blocks do not each attend once (differential attention, parallel
            attentions).

    """
    encoder = network.encoder
    with torch.no_grad():
        with listening(encoder) as attention:
            output = network(images)
        if len(attention) != len(encoder.layers):
            raise InputError(
                f"method attention: expected one softmax attention in each of the ViT's "
                f"{len(encoder.layers)} blocks, found {len(attention)}"
            )
        prefix = encoder.vit.num_prefix_tokens
        return attention_weighted(output.activation_maps, attention, prefix), output.logits
