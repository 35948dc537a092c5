"""Class scores and a saliency map put together.

Saliency knows no classes. It says where some object is, and so where the background is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

_Maps = NDArray[np.float32]

SaliencyUse = Literal["guide", "harmonic_mean", "background", "two_thresholds", "crf"]
SALIENCY_USES: tuple[str, ...] = get_args(SaliencyUse)


@dataclass(frozen=True, kw_only=True)
class SaliencyThresholds:
    """The thresholds of `two_thresholds`, each 0..1.

    Attributes:
        low: what a class has to exceed where the image is salient.
        high: what it has to exceed elsewhere.
        cut: where saliency begins.

    """

    low: float = 0.25
    high: float = 0.7
    cut: float = 0.5


def combine_saliency(
    how: SaliencyUse,
    scores: _Maps,
    saliency: _Maps,
    thresholds: SaliencyThresholds | None = None,
) -> _Maps:
    """Return class scores after a saliency map was heard.

    Args:
        how: "guide" multiplies each score s by the saliency a. "harmonic_mean" is 2 s a / (s + a)
            (Chaudhry et al., BMVC 2017, with equal weights). "background" and "crf" take 1 - a as
            the score of the background and give the share s / (s + 1 - a) of a class: at 0.5 it
            beats the background. "two_thresholds" lets saliency decide what lies between a low and
            a high threshold: the background's score b is `low` where the image is salient and
            `high` elsewhere, and the share is s / (s + b).
        scores: float32 [..., K, H, W], 0..1.
        saliency: float32 [..., 1, H, W], 0..1.
        thresholds: of "two_thresholds".

    Returns:
        float32 of the scores' shape, 0..1.

    """
    if how in ("guide", "harmonic_mean"):
        return _MEANS[how](scores, saliency)
    if how == "two_thresholds":
        levels = thresholds or SaliencyThresholds()
        salient = saliency >= levels.cut
        background = np.where(salient, levels.low, levels.high).astype(np.float32)
    else:
        background = 1 - saliency
    return _share(scores, scores + background)


def saliency_unary(scores: _Maps, saliency: _Maps) -> _Maps:
    """Return the probabilities of background and classes for a CRF.

    Args:
        scores: float32 [K, H, W], 0..1.
        saliency: float32 [1, H, W], 0..1; the background's score is 1 - saliency.

    Returns:
        float32 [K + 1, H, W], background first, summing to one. Where all scores are 0 all are
        alike.

    """
    classes = np.concatenate([1 - saliency, scores])
    total = classes.sum(0, keepdims=True)
    return np.where(total > 0, _share(classes, total), 1 / len(classes)).astype(np.float32)


def _share(part: _Maps, whole: _Maps) -> _Maps:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _harmonic_mean(scores: _Maps, saliency: _Maps) -> _Maps:
    return _share(2 * scores * saliency, scores + saliency)


_MEANS: dict[str, Callable[[_Maps, _Maps], _Maps]] = {
    "guide": lambda scores, saliency: scores * saliency,
    "harmonic_mean": _harmonic_mean,
}
