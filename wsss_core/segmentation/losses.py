"""Losses of a segmenter's logits against label maps, void pixels left out.

Each loss takes logits float [B, C, H, W] of C = K + 1 classes, the background first, and labels
int64 [B, H, W] of which 255 counts for nothing. It is computed in float32 at least. A batch without
any pixel that counts has the loss 0 and gradients of 0.

A pixel's weight is that of its class times its own. Means over pixels divide by the sum of the
weights, so equal weights change nothing. Libraries differ here: see `docs/segmentation.md`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.data import IGNORED

LOG_OF_ZERO = -4.0
"""What symmetric cross-entropy puts for log 0 (A in section 3.2 of the paper)."""


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy: the mean over pixels of -log p of the pixel's class.

    Args:
        logits: float [B, C, H, W].
        labels: int64 [B, H, W], 0..C - 1 or 255.
        class_weights: float [C]; None: 1 each.
        pixel_weights: float [B, H, W], 0 or more; None: 1 each.

    """
    return _mean(-_log_probability(logits, labels), labels, class_weights, pixel_weights)


def binary_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean over pixels and classes of each class's own yes-or-no cross-entropy.

    Class k says yes by the difference of its logit and the background's. The prediction is the same
    as with `cross_entropy`: the background where no class says yes. With one class the two losses
    are equal.
    """
    logits = _precise(logits)
    wanted = torch.stack([labels == value for value in range(1, logits.shape[1])], 1)
    each = F.binary_cross_entropy_with_logits(
        logits[:, 1:] - logits[:, :1], wanted.to(logits), reduction="none"
    )
    return _mean(each.mean(1), labels, class_weights, pixel_weights)


def dice(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Return 1 - the soft Dice coefficient, the mean over the classes that the batch holds.

    Milletari et al., "V-Net", 3DV 2016, with p for the probability and without squares: 2 sum(p y)
    / (sum p + sum y), the sums over all pixels of the batch that count. A class without a pixel in
    the batch gives nothing, and no gradient; the others' Dice does not see its false pixels either.
    Add cross-entropy, which does. The background counts as a class.
    """
    probability = _precise(logits).softmax(1)
    counted = labels != IGNORED
    one_hot = F.one_hot(labels.masked_fill(~counted, 0), logits.shape[1]).movedim(-1, 1)
    weights = (counted if pixel_weights is None else counted * pixel_weights).to(probability)
    weights = weights.unsqueeze(1)
    hits = (weights * probability * one_hot).sum((0, 2, 3))
    true = (weights * one_hot).sum((0, 2, 3))
    both = (weights * probability).sum((0, 2, 3)) + true
    held = (true > 0).to(probability)
    if class_weights is not None:
        held = held * class_weights.to(held)
    each = 1 - 2 * hits / both.clamp_min(torch.finfo(both.dtype).tiny)
    return (each * held).sum() / held.sum().clamp_min(torch.finfo(held.dtype).tiny)


def generalised_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    exponent: float = 0.7,
    class_weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean over pixels of (1 - p ** q) / q, for labels with errors.

    Zhang and Sabuncu, NeurIPS 2018 (arXiv 1805.07836), equation 6. Pixels whose label the network
    doubts pull less than in cross-entropy, its limit at q = 0. At q = 1 it is the mean absolute
    error.

    Args:
        logits: float [B, C, H, W].
        labels: int64 [B, H, W], 0..C - 1 or 255.
        exponent: q, above 0, at most 1.
        class_weights: float [C]; None: 1 each.
        pixel_weights: float [B, H, W], 0 or more; None: 1 each.

    """
    each = -torch.expm1(exponent * _log_probability(logits, labels)) / exponent
    return _mean(each, labels, class_weights, pixel_weights)


def symmetric_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    class_weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Return alpha x cross-entropy + beta x reverse cross-entropy, for labels with errors.

    Wang et al., ICCV 2019 (arXiv 1908.06112), equation 7. Reverse cross-entropy swaps prediction
    and label; with log 0 put at `LOG_OF_ZERO` it is 4 (1 - p).

    Args:
        logits: float [B, C, H, W].
        labels: int64 [B, H, W], 0..C - 1 or 255.
        alpha: 0 or more.
        beta: 0 or more.
        class_weights: float [C]; None: 1 each.
        pixel_weights: float [B, H, W], 0 or more; None: 1 each.

    """
    log_probability = _log_probability(logits, labels)
    reverse = -LOG_OF_ZERO * -torch.expm1(log_probability)
    return _mean(alpha * -log_probability + beta * reverse, labels, class_weights, pixel_weights)


def counted_weight(
    labels: Tensor, class_weights: Tensor | None = None, pixel_weights: Tensor | None = None
) -> Tensor:
    """Return the sum of the weights of the pixels that count, by which means divide; a scalar."""
    return _weights(labels, class_weights, pixel_weights, torch.float32).sum()


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p of each pixel's class, [B, H, W]; 0 of void pixels, without gradient."""
    return -F.cross_entropy(_precise(logits), labels, ignore_index=IGNORED, reduction="none")


def _weights(
    labels: Tensor, class_weights: Tensor | None, pixel_weights: Tensor | None, dtype: torch.dtype
) -> Tensor:
    counted = labels != IGNORED
    weights = counted.to(dtype)
    if class_weights is not None:
        weights = weights * class_weights.to(weights)[labels.masked_fill(~counted, 0)]
    return weights if pixel_weights is None else weights * pixel_weights.to(weights)


def _mean(
    each: Tensor, labels: Tensor, class_weights: Tensor | None, pixel_weights: Tensor | None
) -> Tensor:
    weights = _weights(labels, class_weights, pixel_weights, each.dtype)
    return (each * weights).sum() / weights.sum().clamp_min(torch.finfo(each.dtype).tiny)
