"""Affinity between the cells of a ViT, learned from its attention.

Ru et al., "Learning Affinity from Attention" (AFA), CVPR 2022 (arXiv 2203.02664), sections 3.2 and
3.3, with the numbers of the authors' code: products of queries and keys before scale and softmax, a
square neighbourhood, one added to each count of pairs, and 0.1 to the sums that normalise.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones import evaluating
from wsss_core.backbones.attending import SelfAttention, attending_model, listening
from wsss_core.data import IGNORED
from wsss_core.errors import InputError

_POWER = 2
"""An affinity is squared element by element before scores move along it."""

_FLOOR = 0.1
"""Added to the sum that normalises a cell's affinities, against cells that are like no other."""


class AttentionAffinity(nn.Module):
    """A 1x1 convolution over the attention of all heads of a ViT's last blocks, and a sigmoid.

    Args:
        heads: of these blocks together.
        blocks: how many blocks.

    """

    def __init__(self, heads: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.join = nn.Conv2d(heads, 1, 1)
        nn.init.kaiming_normal_(self.join.weight, a=math.sqrt(5), mode="fan_out")

    @classmethod
    def over(cls, encoder: nn.Module, blocks: int, image_size: int) -> "AttentionAffinity":
        """Return an affinity over the last blocks of an encoder, whose heads are counted.

        Args:
            encoder: a plain transformer of timm.
            blocks: how many of its blocks.
            image_size: side of its images in pixels.

        Raises:
            InputError: the encoder has no attention between its patches, or fewer blocks.

        """
        attending_model(encoder)
        with torch.no_grad(), evaluating(encoder), torch.random.fork_rng(devices=[]):
            like = next(encoder.parameters())
            with listening(encoder) as heard:
                encoder(like.new_zeros(1, 3, image_size, image_size))
        return cls(sum(one.query.shape[1] for one in last_blocks(heard, blocks)), blocks)

    def forward(self, heard: Sequence[Any], cells: int) -> Tensor:
        """Return the affinity of each pair of cells, float [B, N, N] in 0..1, symmetric.

        Args:
            heard: the attention of a pass, see `wsss_core.cams.listening`.
            cells: N, how many patches the map has; tokens before them are left out.

        """
        scores = []
        for one in last_blocks(heard, self.blocks):
            query, key = one.query[:, :, -cells:], one.key[:, :, -cells:]
            key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
            scores.append(query @ key.transpose(-1, -2))
        joined = torch.cat(scores, 1)
        found: Tensor = self.join(joined + joined.transpose(-1, -2))
        return found[:, 0].float().sigmoid()


def decoder_affinity(fused: Tensor) -> Tensor:
    """Return WeCLIP's affinity of cells, sigmoid(F^T F), float [B, N, N].

    Args:
        fused: F, float [B, C, h, w], the maps of a decoder before its transformer.

    """
    flat = fused.float().flatten(2)
    with torch.autocast(flat.device.type, enabled=False):
        return (flat.transpose(1, 2) @ flat).sigmoid()


def last_blocks(heard: Sequence[Any], blocks: int) -> list[SelfAttention]:
    """Return the attention of the last blocks; InputError if it is not known by query and key."""
    found = list(heard[-blocks:])
    if len(found) < blocks or not all(isinstance(one, SelfAttention) for one in found):
        raise InputError(
            f"affinity of the last {blocks} blocks: this network gives {len(heard)}, of which "
            f"{sum(isinstance(one, SelfAttention) for one in heard)} attend by query and key; "
            "expected a plain ViT with as many blocks"
        )
    return found


@cache
def near_pairs(rows: int, columns: int, radius: int) -> Tensor:
    """Return which pairs of cells are near: bool [N, N] of N = rows x columns cells.

    Two cells are near if they are no more than `radius` rows and as many columns apart. A cell is
    near itself.

    >>> near_pairs(1, 3, 1).int().tolist()
    [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    """
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    far = torch.maximum((row[:, None] - row[None]).abs(), (column[:, None] - column[None]).abs())
    return far <= radius


def affinity_labels(labels: Tensor, radius: int) -> Tensor:
    """Return which pairs of cells belong together, int64 [B, N, N].

    Args:
        labels: int64 [B, h, w], the class of each cell, 255 where it is unknown.
        radius: the pairs that are looked at, see `near_pairs`.

    Returns:
        1 for near cells of one class, 0 for near cells of two, 255 for all other pairs.

    """
    flat = labels.flatten(1)
    together = (flat[:, :, None] == flat[:, None]).long()
    unknown = (flat == IGNORED)[:, :, None] | (flat == IGNORED)[:, None]
    near = near_pairs(labels.shape[-2], labels.shape[-1], radius).to(labels.device)
    return together.masked_fill(unknown | ~near, IGNORED)


def affinity_loss(affinity: Tensor, labels: Tensor) -> Tensor:
    """Return half the mean of 1 - A over like pairs and half the mean of A over unlike ones.

    One is added to each count, as in the authors' code, so that no pair gives no loss.

    Args:
        affinity: float [B, N, N] in 0..1.
        labels: int64 [B, N, N], see `affinity_labels`.

    """
    like, unlike = labels == 1, labels == 0
    positive = ((1 - affinity) * like).sum() / (like.sum() + 1)
    negative = (affinity * unlike).sum() / (unlike.sum() + 1)
    return (positive + negative) / 2


def propagate(scores: Tensor, affinity: Tensor, radius: int) -> Tensor:
    """Move the scores of cells once along the affinities between them.

    score_j <- sum_i score_i A_ij^2 / (sum_i A_ij^2 + 0.1), over near cells i.

    Args:
        scores: float [B, C, h, w].
        affinity: float [B, N, N] in 0..1 of N = h x w cells.
        radius: which cells are near, see `near_pairs`.

    """
    rows, columns = scores.shape[-2:]
    near = near_pairs(rows, columns, radius).to(affinity.device)
    weights = (affinity * near) ** _POWER
    weights = weights / (weights.sum(1, keepdim=True) + _FLOOR)
    return (scores.flatten(2) @ weights).unflatten(2, (rows, columns))
