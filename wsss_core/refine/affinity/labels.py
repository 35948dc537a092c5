"""Labels of an affinity head: confident pixels of a CAM, their pairs, and the loss on them.

Ahn & Kwak (PSA), CVPR 2018, "Learning AffinityNet", and Ahn et al. (IRN), CVPR 2019: no mask is
used. Two CRF results of one CAM, of a strong and of a weak background, agree on the pixels that are
sure; pairs of those belong together or do not.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError
from wsss_core.refine.affinity.random_walk import half_disc, moved, pixels_with_partner

_EPSILON = 1e-5  # of PSA and IRN, inside the logarithm and under the count


class Pairs(NamedTuple):
    """Pairs of sure pixels, each bool [B, N, h, w], one map an offset of `half_disc(radius)`.

    Attributes:
        background: both are background.
        foreground: both are of one class.
        negative: they are of different classes, background being one.

    """

    background: Tensor
    foreground: Tensor
    negative: Tensor


def confident_labels(low_alpha: Tensor, high_alpha: Tensor) -> Tensor:
    """Return labels of the pixels that two CRF results of one CAM make sure.

    The background's score is (1 - max)^alpha (PSA takes 4 and 32). A low alpha makes it
    strong, so what is still foreground is sure to be; a high alpha makes it weak, so what is still
    background is. Where each is sure of its own side, background stands, as in PSA's code.

    Args:
        low_alpha: float [..., K + 1, H, W], posteriors or scores, background first.
        high_alpha: the same shape. IRN's two thresholds serve as well: the CRF result of the
            higher foreground threshold (0.30) first, of the lower one (0.05) second.

    Returns:
        uint8 [..., H, W]: 0 background, 1..K a class, 255 not sure.

    Raises:
        InputError: shapes that differ, fewer than 2 or more than 255 maps, or values that are not
            finite.

    Example:
        >>> low = torch.tensor([[0.9, 0.6, 0.1]]).repeat(2, 1)  # background of three pixels
        >>> high = torch.tensor([[0.7, 0.2, 0.0]]).repeat(2, 1)
        >>> low, high = (torch.stack([one, 1 - one]) for one in (low, high))
        >>> confident_labels(low, high)[0]
        tensor([  0, 255,   1], dtype=torch.uint8)

    """
    shapes = f"{list(low_alpha.shape)} and {list(high_alpha.shape)}"
    if low_alpha.shape != high_alpha.shape or low_alpha.ndim < 3:
        raise InputError(f"confident_labels expects two [..., K + 1, H, W] alike; got {shapes}")
    if not 2 <= low_alpha.shape[-3] <= IGNORED:
        raise InputError(f"confident_labels expects 2 to {IGNORED} maps a pixel; got {shapes}")
    if not bool((low_alpha.isfinite() & high_alpha.isfinite()).all()):
        raise InputError("confident_labels got scores that are not finite")
    foreground, background = low_alpha.argmax(-3), high_alpha.argmax(-3)
    labels = torch.where(foreground == 0, IGNORED, foreground)
    return labels.masked_fill(background == 0, 0).to(torch.uint8)


def labels_at_grid(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Read labels uint8 [B, H, W] at the centres of a grid's cells, uint8 [B, h, w] (nearest)."""
    if labels.ndim != 3 or labels.dtype != torch.uint8:
        raise InputError(
            f"expected labels uint8 [B, H, W]; got {labels.dtype} {list(labels.shape)}"
        )
    if tuple(labels.shape[-2:]) == tuple(grid):
        return labels
    return F.interpolate(labels[:, None].float(), grid, mode="nearest-exact")[:, 0].to(torch.uint8)


def pair_labels(labels: Tensor, radius: int) -> Pairs:
    """Find which pairs of pixels less than `radius` apart belong together.

    Every pair of the grid counts once; PSA's code leaves out those whose upper pixel lies in the
    last radius - 1 rows or in the outer radius - 1 columns.

    Args:
        labels: uint8 [B, h, w], 255 where not sure; such pixels have no pair.
        radius: 1 or more.

    """
    if labels.ndim != 3 or labels.dtype != torch.uint8:
        raise InputError(
            f"expected labels uint8 [B, h, w]; got {labels.dtype} {list(labels.shape)}"
        )
    offsets = half_disc(radius)
    batch, height, width = labels.shape
    partner = labels.new_full((batch, len(offsets), height, width), IGNORED)
    for number, offset in enumerate(offsets):
        rows, columns = here = pixels_with_partner(offset, height, width)
        there_rows, there_columns = moved(here, offset)
        partner[:, number, rows, columns] = labels[:, there_rows, there_columns]
    own = labels[:, None]
    sure, alike = (own != IGNORED) & (partner != IGNORED), own == partner
    return Pairs(sure & alike & (own == 0), sure & alike & (own != 0), sure & ~alike)


def pair_loss(affinity: Tensor, pairs: Pairs) -> Tensor:
    """Return the balanced cross-entropy of the pairs, bg / 4 + fg / 4 + neg / 2, a scalar.

    Each term is the mean over all pairs of its kind in the batch of -log(affinity), of negative
    pairs -log(1 - affinity); a kind without pairs costs 0. PSA's
    loss, and that of IRN's boundary branch.

    Args:
        affinity: float [B, N, h, w] in 0..1; what lies off the grid is never labelled.
        pairs: pairs of the same shape.

    Raises:
        InputError: shapes that differ.

    """
    if any(kind.shape != affinity.shape for kind in pairs):
        raise InputError(
            f"pair_loss expects pairs of the affinity's shape {list(affinity.shape)}; got "
            f"{[list(kind.shape) for kind in pairs]}"
        )
    alike, unlike = -torch.log(affinity + _EPSILON), -torch.log(1 + _EPSILON - affinity)
    background, foreground, negative = (
        torch.where(kind, cost, 0).sum() / (kind.sum(dtype=cost.dtype) + _EPSILON)
        for kind, cost in zip(pairs, (alike, alike, unlike), strict=True)
    )
    return background / 4 + foreground / 4 + negative / 2
