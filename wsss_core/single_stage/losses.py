"""Losses of single-stage training on the labels that it makes itself, and between two networks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.data import IGNORED
from wsss_core.errors import InputError
from wsss_core.segmentation import cross_entropy


def balanced_segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the cross-entropy of background pixels and half that of all classes' pixels.

    Each is a mean over its own pixels, so that a large background does not outweigh small objects;
    a half without a pixel is 0. AFA, ToCo, DuPL and their successors train their decoders so.

    Args:
        logits: float [B, K + 1, H, W], the background first.
        labels: int64 [B, H, W], 255 counts for nothing.

    """
    background = cross_entropy(logits, labels.masked_fill(labels != 0, IGNORED))
    classes = cross_entropy(logits, labels.masked_fill(labels == 0, IGNORED))
    return (background + classes) / 2


def at_least_single(values: Tensor) -> Tensor:
    """Return values of half precision in float32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def token_contrast(tokens: Tensor, labels: Tensor) -> Tensor:
    """Return ToCo's patch token contrast: tokens of one label alike, of two labels orthogonal.

    Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation", CVPR 2023 (arXiv
    2303.01267), equation 3, as in the authors' code: half of 1 - the mean absolute cosine over
    pairs of one label, and half of that mean over pairs of two, with one added to each count of
    pairs. A token and itself are no pair, and neither are pairs with an unknown label.

    Args:
        tokens: float [B, C, h, w], the last block's.
        labels: int64 [B, h, w], 255 unknown.

    """
    unit = F.normalize(at_least_single(tokens).flatten(2), dim=1)
    alike = torch.einsum("bci,bcj->bij", unit, unit).abs()
    flat = labels.flatten(1)
    known = (flat != IGNORED)[:, :, None] & (flat != IGNORED)[:, None]
    known &= ~torch.eye(flat.shape[1], dtype=torch.bool, device=flat.device)
    together = known & (flat[:, :, None] == flat[:, None])
    apart = known & ~together
    one = 1 - (alike * together).sum() / (together.sum() + 1)
    two = (alike * apart).sum() / (apart.sum() + 1)
    return (one + two) / 2


def cut_maps(maps: Tensor, present: Tensor, high: float, low: float) -> Tensor:
    """Return labels int64 [B, h, w] of maps alone: a class above `high`, background up to `low`.

    Args:
        maps: float [B, K, h, w] in 0..1.
        present: bool [B, K], the classes that each image holds.
        high: a pixel is of its best class if this scores more.
        low: a pixel is background if no class scores more; 255 between the two.

    """
    best, number = maps.masked_fill(~present[:, :, None, None], 0).max(1)
    labels = (number + 1).masked_fill(best <= high, IGNORED)
    return labels.masked_fill(best <= low, 0)


def discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Return DuPL's discrepancy of two networks: 1 + their cosine, which pushes them apart.

    Wu et al., DuPL, CVPR 2024, equation 3: the cosine of each channel over locations, its mean over
    channels and images. Each side is detached in turn and the two are added up, so that both move.

    Args:
        one: float [B, C, h, w], a network's features.
        other: the other's, of the same shape.

    Raises:
        InputError: another shape.

    """
    if one.shape != other.shape:
        raise InputError(
            f"discrepancy: the networks' features are {list(one.shape)[1:]} and "
            f"{list(other.shape)[1:]}; expected networks of one architecture"
        )
    total = one.new_zeros((), dtype=torch.float32)
    for moved, kept in ((one, other.detach()), (other, one.detach())):
        first, second = at_least_single(moved).flatten(2), at_least_single(kept).flatten(2)
        cosine = F.cosine_similarity(first, second, dim=2)
        total = total + 1 + cosine.mean()
    return total
