"""When a network says nothing: results that are no number to average, but a finding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_LOGITS = 1e-3
"""Logits that differ less than this over all images change a probability by under 0.03 %."""

ALMOST_ALL = 0.99
"""The share of images whose map has to be degenerate."""

_LOW, _HIGH = 25, 230  # a tenth from either end of 256 levels


def collapse_reason(levels: NDArray[np.integer], logits: NDArray[np.floating]) -> str | None:
    """Why scores say nothing, or None if they say something, right or wrong.

    Args:
        levels: pixels per score level of each image, [N, 256].
        logits: float [N, K].

    Returns:
        "constant logits" (no class's logit differs between images by more than `SAME_LOGITS`),
        "empty CAMs", "full CAMs" or "flat CAMs" (of almost all images the map has one level: low,
        high, or between), or None.

    """
    if len(logits) > 1 and (np.ptp(logits, axis=0) <= SAME_LOGITS).all():
        return "constant logits"
    flat = (levels > 0).sum(axis=1) == 1
    if len(levels) and flat.mean() >= ALMOST_ALL:
        level = float(np.median(levels[flat].argmax(axis=1)))
        kind = "empty" if level < _LOW else "full" if level > _HIGH else "flat"
        return f"{kind} CAMs"
    return None
