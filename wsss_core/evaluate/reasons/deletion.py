"""Deletion and insertion: does the map put the pixels first that the network needs?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.reasons.alterations import MID_GREY

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""Takes uint8 images [N, S, S, 3]; returns logits, real [N, K]."""


@dataclass(frozen=True)
class DeletionInsertion:
    """The class's probability while pixels go, or come, in the map's order.

    Attributes:
        deletion: float64 [steps + 1], from the whole image to grey.
        insertion: float64 [steps + 1], from grey to the whole image.

    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Return the area below the deletion curve, in [0, 1]; low is good."""
        return _area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Return the area below the insertion curve, in [0, 1]; high is good."""
        return _area(self.insertion)


def deletion_insertion(
    predict: Predict,
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    number: int,
    *,
    steps: int = 16,
    seed: int = 0,
) -> DeletionInsertion:
    """Delete and insert an image's pixels in the order of a map, the highest score first.

    After Petsiuk et al., "RISE", BMVC 2018, with mid-grey on both sides. Equal scores follow each
    other at random, so that a map without contrast is a random order.

    Args:
        predict: gives logits; it is called once, with 2 * steps images.
        image: uint8 [S, S, 3].
        scores: real [S, S], the map on the image's grid, without NaN.
        number: the class's place in the logits.
        steps: in how many steps all pixels have gone.
        seed: of the order of equal scores.

    Raises:
        InputError: scores of another shape or with NaN, or no step.

    """
    if scores.shape != image.shape[:2] or not np.isfinite(scores).all():
        raise InputError(
            f"scores: expected finite {list(image.shape[:2])}, got {list(scores.shape)}"
        )
    if steps < 1:
        raise InputError(f"steps: expected 1 or more, got {steps}")
    shuffled = np.random.default_rng(seed).permutation(scores.size)
    order = shuffled[np.argsort(-scores.ravel()[shuffled], kind="stable")]
    place = np.empty(scores.size, np.int64)
    place[order] = np.arange(scores.size)
    ends = np.rint(np.linspace(0, scores.size, steps + 1)).astype(np.int64)
    gone = place.reshape(1, *scores.shape, 1) < ends.reshape(-1, 1, 1, 1)
    grey = np.uint8(MID_GREY)
    deleted, inserted = np.where(gone, grey, image), np.where(gone, image, grey)
    # All gone is nothing inserted, and the reverse: each of the two ends is asked once.
    logits = predict(np.concatenate([deleted, inserted[1:-1]]))[:, number].astype(float)
    chances = 1 / (1 + np.exp(-logits))
    whole, empty, between = chances[:1], chances[steps : steps + 1], chances[steps + 1 :]
    return DeletionInsertion(chances[: steps + 1], np.concatenate([empty, between, whole]))


def _area(curve: NDArray[np.float64]) -> float:
    return float(((curve[1:] + curve[:-1]) / 2).mean())
