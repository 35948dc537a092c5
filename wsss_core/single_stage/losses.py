"""Losses of single-stage training on the labels that it makes itself."""

from torch import Tensor

from wsss_core.data import IGNORED
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
