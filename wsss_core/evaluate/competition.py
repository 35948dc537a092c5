"""Several classes at one pixel: the highest score wins, the others have none there.

With losers set to 0, the one-vs-rest histogram of each class gives at every level t >= 1 exactly
the IoU of the usual prediction: the class of the highest score where that reaches t, else
background. Level 0 stands for "nothing competes" and is no threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def compete(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep each pixel's level for the class with the highest, 0 for the others.

    Args:
        levels: uint8 [K, h, w]. Of equal levels the first class wins.

    Returns:
        uint8 [K, h, w]; a winner has at least 1, so that every pixel has a class at level 1.

    Example:
        >>> compete(np.array([[[9, 0, 4]], [[3, 0, 7]]], dtype=np.uint8)).tolist()
        [[[9, 1, 0]], [[0, 0, 7]]]

    """
    winner = levels.argmax(axis=0)
    wins = np.arange(len(levels))[:, np.newaxis, np.newaxis] == winner
    kept: NDArray[np.uint8] = np.where(wins, np.maximum(levels, 1), 0).astype(np.uint8)
    return kept
