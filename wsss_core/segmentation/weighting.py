"""Weights of classes and of pixels, and a loss made of settings."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.data import IGNORED
from wsss_core.errors import InputError
from wsss_core.segmentation.losses import (
    binary_cross_entropy,
    cross_entropy,
    dice,
    generalised_cross_entropy,
    symmetric_cross_entropy,
)
from wsss_core.segmentation.settings import CLASS_WEIGHTINGS, ClassWeighting, LossSettings


def count_labels(masks: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count the pixels of each class, int64 [K + 1], the background first.

    Args:
        masks: uint8 of any shape, 0..K or 255.
        classes: K, without the background.

    Raises:
        InputError: another value, which the message names. A mask of 0 and 255 passes, but holds
            no pixel of any class, as 255 counts for nothing.

    """
    counts = np.bincount(masks.ravel(), minlength=IGNORED + 1)
    beyond = np.flatnonzero(counts[classes + 1 : IGNORED])
    if beyond.size:
        raise InputError(
            f"masks hold the value {classes + 1 + int(beyond[0])}; expected 0 to {classes}, or "
            f"{IGNORED} for pixels that do not count"
        )
    return counts[: classes + 1]


def class_weights(
    counts: NDArray[np.integer], rule: ClassWeighting = "inverse"
) -> NDArray[np.float64]:
    """Return the weight of each class, float64 [C].

    Args:
        counts: integers [C], the pixels of each class, see `count_labels`.
        rule: "inverse": all pixels / (C x pixels of the class), so that every class has the same
            share of the loss. "median": the median of the counts / pixels of the class (Eigen and
            Fergus, ICCV 2015, here with pixels of all images). "none": 1 each.

    Raises:
        InputError: an unknown rule, or a class without a pixel.

    Example:
        >>> class_weights(np.array([30, 10])).tolist()
        [0.6666666666666666, 2.0]

    """
    if rule not in CLASS_WEIGHTINGS:
        raise InputError(f"class weights {rule!r}: expected one of {', '.join(CLASS_WEIGHTINGS)}")
    if rule == "none":
        return np.ones(len(counts))
    if (counts <= 0).any():
        missing = int(np.flatnonzero(counts <= 0)[0])
        raise InputError(f"class weights: class {missing} has no pixel; expected one of each class")
    target = counts.sum() / len(counts) if rule == "inverse" else np.median(counts)
    weights: NDArray[np.float64] = target / counts
    return weights


def label_confidence(
    scores: NDArray[np.floating], labels: NDArray[np.uint8], *, power: float = 1.0
) -> NDArray[np.float32]:
    """Return a weight for each pixel: how much soft maps support the label that it was given.

    A pixel labelled as class k weighs its score, a pixel of the background 1 - the highest score of
    any class. Both are raised to `power`. Pixels on the wrong side of a threshold by a hair then
    teach about half as much as sure ones.

    Args:
        scores: floats [K, h, w] in 0..1, such as normalised CAMs.
        labels: uint8 [h, w], the pseudo mask, 0..K or 255.
        power: above 0; larger values tell sure from unsure pixels more sharply.

    Returns:
        float32 [h, w] in 0..1; 0 of void pixels.

    Raises:
        InputError: maps that do not fit, scores beyond 0..1, or a power out of range.

    """
    if scores.ndim != 3 or scores.shape[1:] != labels.shape:
        raise InputError(
            f"scores: expected [K, {', '.join(map(str, labels.shape))}], got {list(scores.shape)}"
        )
    # A comparison that NaN fails too.
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise InputError(f"scores: expected 0 to 1, got {scores.min()} to {scores.max()}")
    if not 0 < power < np.inf:
        raise InputError(f"power: expected a finite number above 0, got {power}")
    count_labels(labels, len(scores))
    support = np.concatenate([1 - scores.max(axis=0, keepdims=True), scores])
    counted = labels != IGNORED
    chosen = np.take_along_axis(support, np.where(counted, labels, 0)[np.newaxis].astype(int), 0)
    return np.where(counted, chosen[0] ** power, 0).astype(np.float32)


class SegmentationLoss:
    """A weighted sum of losses, see `LossSettings`.

    Args:
        settings: the terms.
        class_weights: float [C], see `class_weights`; None: 1 each.

    """

    def __init__(self, settings: LossSettings, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights
        known: Mapping[str, Callable[..., Tensor]] = {
            "cross_entropy": cross_entropy,
            "binary": binary_cross_entropy,
            "dice": dice,
            "generalised_cross_entropy": partial(
                generalised_cross_entropy, exponent=settings.exponent
            ),
            "symmetric_cross_entropy": partial(
                symmetric_cross_entropy, alpha=settings.alpha, beta=settings.beta
            ),
        }
        self._terms = [(known[name], weight) for name, weight in settings.terms.items()]

    def __call__(
        self, logits: Tensor, labels: Tensor, pixel_weights: Tensor | None = None
    ) -> Tensor:
        """Return the loss of logits [B, C, H, W] and labels int64 [B, H, W]; a scalar."""
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        total = torch.zeros((), device=logits.device)
        for term, weight in self._terms:
            total = total + weight * term(
                logits, labels, class_weights=weights, pixel_weights=pixel_weights
            )
        return total
