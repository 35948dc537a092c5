"""The partially-cross-attention projector: a student's map in the teacher's space of attention.

Liu et al., "Cross-Architecture Knowledge Distillation", arXiv 2207.05273, section 3.1. The teacher
is a transformer, the student any network with a map.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from wsss_core.backbones.attending import SelfAttention
from wsss_core.transfer.losses import bounded

_SHARE = 0.5
"""The share of the student's numbers that the teacher's replace, as in the paper."""


class PartialCrossAttention(nn.Module):
    """How far a student's attention is from its teacher's, after a projection that learns.

    Three 3x3 convolutions make queries Q_S, keys K_S and values V_S of the student's map. While it
    trains, each number of them is replaced by the teacher's with probability 1/2:
    `PCA_S = softmax(g(Q_S) g(K_S)^T / sqrt(d)) g(V_S)`, with g the replacement. The loss is
    `mean (Attn_T - PCA_S)^2 + mean (V_T V_T^T / sqrt(d) - V_S V_S^T / sqrt(d))^2`, head by head.

    Three things are not in the paper. Means stand for its sums. Attention is between the patches
    alone, of teacher and student alike: a CNN has no class token. Where the teacher adds a bias to
    the products of queries and keys, the student's get it too.

    Args:
        channels: C of the student's map.
        width: of the teacher's attention: heads times d.
        share: the probability that the teacher's number replaces the student's.

    """

    def __init__(self, channels: int, width: int, share: float = _SHARE) -> None:
        super().__init__()
        self.share = share
        self.query, self.key, self.value = (
            nn.Conv2d(channels, width, 3, padding=1) for _ in range(3)
        )

    def forward(
        self, maps: Tensor, teacher: SelfAttention, prefix: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return the scalar loss.

        Args:
            maps: the student's, float [B, C, h, w] on the grid of the teacher's L = h * w patches.
            teacher: attention of a block.
            prefix: how many tokens come before the patches in it.
            cells: bool [B, h, w], which cells are no padding; None: all.

        """
        theirs, bias = _patches(teacher, prefix)
        heads, width = theirs[0].shape[1], theirs[0].shape[-1]
        maps = _bounded(maps)
        if cells is not None:
            maps = torch.where(cells.unsqueeze(1), maps, 0)
        own = [
            _float(layer(maps).flatten(2).mT.unflatten(2, (heads, width)).transpose(1, 2))
            for layer in (self.query, self.key, self.value)
        ]
        counted = None if cells is None else cells.flatten(1)
        scale = width**-0.5 if teacher.scale is None else teacher.scale
        with torch.autocast(maps.device.type, enabled=False):
            attended = [
                _attend(tokens, scale, bias, counted)
                for tokens in (theirs, map(self._mixed, own, theirs))
            ]
            values = [v @ v.mT * width**-0.5 for v in (theirs[2], own[2])]
            loss = _mean_square(attended[0] - attended[1], counted)
            both = None if counted is None else counted[:, :, None] & counted[:, None, :]
            return loss + _mean_square(values[0] - values[1], both)

    def _mixed(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the student's numbers, some of them replaced by the teacher's in training."""
        if not self.training:
            return student
        return torch.where(torch.rand_like(student) < self.share, teacher, student)


def _patches(attention: SelfAttention, prefix: int) -> tuple[list[Tensor], Tensor | None]:
    """Return queries, keys and values of the patches, and the bias between them."""
    assert attention.value is not None
    heads = attention.query.shape[1]
    tokens = [
        _bounded(_float(one[:, :, prefix:])).repeat_interleave(heads // one.shape[1], 1)
        for one in (attention.query, attention.key, attention.value)
    ]
    bias = attention.bias
    if bias is not None:
        bias = bias[..., prefix:, prefix:] if bias.shape[-2] > 1 else bias[..., prefix:]
        if bias.dtype == torch.bool:
            bias = torch.zeros_like(bias, dtype=tokens[0].dtype).masked_fill(~bias, -torch.inf)
    return tokens, bias


def _attend(
    tokens: Iterable[Tensor],
    scale: float,
    bias: Tensor | None,
    counted: Tensor | None,
) -> Tensor:
    query, key, value = tokens
    products = query @ key.mT * scale
    if bias is not None:
        products = products + bias
    if counted is not None:
        products = products.masked_fill(~counted[:, None, None, :], -torch.inf)
    return products.softmax(-1) @ value


def _mean_square(difference: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean over images of the mean square of [B, heads, L, n] at what counts.

    Args:
        difference: of two networks.
        counted: bool [B, L], rows that count, or [B, L, n]; None: all.

    """
    squares = difference.square().mean(1)
    if counted is None:
        return squares.mean()
    weights = (counted if counted.ndim == 3 else counted.unsqueeze(-1)).to(squares.dtype)
    weights = weights.expand_as(squares)
    return ((squares * weights).sum((1, 2)) / weights.sum((1, 2))).mean()


def _bounded(maps: Tensor) -> Tensor:
    """Scale each image's maps or tokens down to 2^12 if a number in them is beyond.

    The loss squares products of values, so their bound is lower than `BOUND`.
    """
    return bounded(_float(maps) * 2.0**18) / 2.0**18


def _float(tokens: Tensor) -> Tensor:
    return tokens.float() if tokens.dtype in (torch.float16, torch.bfloat16) else tokens
