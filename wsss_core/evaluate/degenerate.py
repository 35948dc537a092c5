"""When a network says nothing: results that are no number to average, but a finding."""

import numpy as np
from numpy.typing import NDArray

SAME_LOGITS = 1e-3
"""Logits that differ by no more than this over all images change a probability by at most 0.025
points of a hundred, as the sigmoid's slope is at most 1/4."""

SAME_FLOATS = 4 * float(np.finfo(np.float32).eps)
"""Or by no more than this share of the greatest of them: four to eight steps of float32, so that
rounding alone does not pass for a difference. It exceeds `SAME_LOGITS` only for logits beyond
2,000."""

ALMOST_ALL = 0.99
"""The share of images whose map has to be degenerate."""

_LOW, _HIGH = 25, 230  # a tenth from either end of 256 levels


def collapse_reason(levels: NDArray[np.integer], logits: NDArray[np.floating]) -> str | None:
    """Return why scores say nothing, or None if they say something, right or wrong.

    Args:
        levels: pixels per score level of each image, [N, 256]. Maps that were emptied because the
            network predicts no class there are not to be among them: such silence is a prediction.
        logits: float [N, K], also of another number of images than `levels`.

    Returns:
        "constant logits" (no class's logit differs between images by more than `SAME_LOGITS` or
        rounding), "empty CAMs", "full CAMs" or "flat CAMs" (of almost all images the map has one
        level: low, high, or between), or None. Of one image logits are never constant; of no
        image nothing is degenerate.

    """
    if len(logits) > 1:
        same = np.maximum(SAME_LOGITS, SAME_FLOATS * np.abs(logits).max(axis=0))
        if (np.ptp(logits, axis=0) <= same).all():
            return "constant logits"
    if not len(levels):
        return None
    flat = (levels > 0).sum(axis=1) == 1
    if flat.mean() >= ALMOST_ALL:
        level = float(np.median(levels[flat].argmax(axis=1)))
        kind = "empty" if level < _LOW else "full" if level > _HIGH else "flat"
        return f"{kind} CAMs"
    return None
