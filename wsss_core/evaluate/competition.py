"""Several classes at one pixel: the highest score wins, the others have none there.

With losers set to 0, the one-vs-rest histogram of each class gives at every level t >= 2 exactly
the IoU of the usual prediction: the class of the highest score where that reaches t, else
background. Level 1 is the prediction without any background, the class of the highest score
everywhere, as at threshold 0: a pixel where all scores are 0 has its class there too. Level 0
stands for "nothing competes" and is no threshold.
"""

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError


def compete(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep each pixel's level for the class with the highest, 0 for the others.

    Args:
        levels: uint8 [K, h, w]. Of equal levels the first class wins.

    Returns:
        uint8 [K, h, w]; a winner has at least 1, so that every pixel has a class at level 1.

    Raises:
        InputError: levels of another type or shape, or of no class.

    Example:
        >>> compete(np.array([[[9, 0, 4]], [[3, 0, 7]]], dtype=np.uint8)).tolist()
        [[[9, 1, 0]], [[0, 0, 7]]]

    """
    if levels.dtype != np.uint8 or levels.ndim != 3 or not len(levels):
        raise InputError(
            "levels: expected uint8 [K, h, w] of at least one class, "
            f"got {levels.dtype} {list(levels.shape)}"
        )
    winner = levels.argmax(axis=0)
    wins = np.arange(len(levels))[:, np.newaxis, np.newaxis] == winner
    kept: NDArray[np.uint8] = np.where(wins, np.maximum(levels, 1), 0).astype(np.uint8)
    return kept
