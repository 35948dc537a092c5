"""The attention of a network's blocks in one pass, for what is trained by it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wsss_core.backbones.attending.self_attention import (
    Attention,
    HeadMean,
    SelfAttention,
    WindowAttention,
    attending_model,
    listening,
)
from wsss_core.backbones.network import Output
from wsss_core.errors import InputError


class BlockAttention(NamedTuple):
    """What one block attends to.

    Attributes:
        parts: its attention; several where a block has several, which add up.
        prefix: how many tokens come before the patches.

    """

    parts: tuple[SelfAttention | HeadMean, ...]
    prefix: int

    def received(self, grid: tuple[int, int]) -> Tensor:
        """Return how much attention each patch gets of all patches.

        `a_j = mean over heads and patches i of A_ij`: the weights between patches, in which class
        and register tokens take their share of the softmax and are left out after it. Several
        parts add up.

        Args:
            grid: (h, w) of the patches.

        Returns:
            float [B, 1, h, w], in 0..1 unless a part counts negatively; in float32 of half
            precision.

        """
        of_part = [part.between(self._before(part, grid)).mean((1, 2)) for part in self.parts]
        return torch.stack(of_part).sum(0).unflatten(1, grid).unsqueeze(1)

    def alone(self, grid: tuple[int, int]) -> tuple[SelfAttention, int]:
        """Return the block's one attention with queries, keys and values, and its prefix.

        Raises:
            InputError: a block with several attentions, or with one that no kernel computes.

        """
        part = self.parts[0]
        if len(self.parts) > 1 or not isinstance(part, SelfAttention) or part.value is None:
            raise InputError(
                "attention: expected a block with queries, keys and values of one attention, as a "
                "plain ViT has; talking heads, gated positions and differential attention have none"
            )
        return part, self._before(part, grid)

    def _before(self, part: SelfAttention | HeadMean, grid: tuple[int, int]) -> int:
        return 0 if part.tokens == grid[0] * grid[1] else self.prefix


def with_attention(network: Any, call: Callable[[], Output]) -> Output:
    """Return a network's output with the attention of its blocks, which carries gradients.

    Args:
        network: over a transformer for which `attends` is True.
        call: calls the network once.

    Raises:
        InputError: not all blocks attend between the patches of the map, or some only within
            windows.

    """
    encoder = network.encoder
    model = attending_model(encoder, "attention")
    with listening(encoder) as heard:
        output = call()
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    parts = _whole(heard, output.features, prefix)
    blocks = len(encoder.layers)
    several, rest = divmod(len(parts), blocks)
    if several == 0 or rest:
        height, width = output.features.shape[-2:]
        raise InputError(
            f"attention: expected each of the {blocks} blocks to attend between all {height} x "
            f"{width} patches of the map, found {len(parts)} that do"
        )
    found = tuple(
        BlockAttention(tuple(parts[several * n : several * (n + 1)]), prefix) for n in range(blocks)
    )
    return output._replace(attention=found)


def _whole(heard: Sequence[Attention], maps: Tensor, prefix: int) -> list[SelfAttention | HeadMean]:
    """Return the attention between the patches of maps, without that within windows."""
    return [
        part
        for part in heard
        if not isinstance(part, WindowAttention) and part.is_between(maps, prefix)
    ]


def detached_attention(blocks: Sequence[Any]) -> tuple[Any, ...]:
    """Return attention that carries no gradient.

    Args:
        blocks: of `Output.attention`.

    """
    return tuple(_detached(block) for block in blocks)


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple):
        inner = [_detached(one) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    return value
