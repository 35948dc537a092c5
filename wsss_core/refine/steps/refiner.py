"""The interface of a step of a refinement chain: score maps in, better score maps out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsss_core.evaluate import resize

if TYPE_CHECKING:
    from wsss_core.backbones import Network

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]


class Known(NamedTuple):
    """All that a step was given beforehand, see `Refiner.__call__`."""

    image_features: Path | None
    fitted_state: Path | None
    network: "Network | None"


class Refiner:
    """One step of a chain.

    Some steps have to see the images alone first (a large model, once for all trials), others have
    to learn from the training images' CAMs (once a trained network); what that gives lies in a
    folder. `wsss_core.refine.steps.registry` says which step needs what.
    """

    def compute_image_features(
        self, images: Images, classes: Sequence[str], folder: Path, *, device: str = "cpu"
    ) -> None:
        """Write to a folder what follows from images uint8 [n, H, W, 3] alone."""
        raise NotImplementedError

    def fit(
        self,
        network: "Network",
        images: Images,
        scores: Scores,
        labels: NDArray[np.bool_],
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Learn from the training images' CAMs and write what was learnt to a folder.

        Args:
            network: the trained network, on the device.
            images: uint8 [N, S, S, 3].
            scores: float32 [N, K, h, w], 0..1.
            labels: bool [N, K], image-level.
            folder: an empty folder for the fitted state.
            seed: decides all that is random.
            device: where the step computes.

        """
        raise NotImplementedError

    def __call__(
        self,
        images: Images,
        scores: Scores,
        *,
        image_features: Path | None = None,
        fitted_state: Path | None = None,
        network: "Network | None" = None,
    ) -> Scores:
        """Refine maps.

        Args:
            images: uint8 [n, S, S, 3].
            scores: float32 [n, K, h, w], 0..1, at a grid of their own.
            image_features: what `compute_image_features` wrote for these very images.
            fitted_state: what `fit` wrote.
            network: the trained network; for a step with a fitted state.

        Returns:
            float32 [n, K, h', w'], 0..1.

        """
        return self.refine(images, scores, Known(image_features, fitted_state, network))

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """Refine maps; see `__call__`."""
        raise NotImplementedError


def at_image_size(scores: Scores, images: Images) -> Scores:
    """Resize maps float32 [n, K, h, w] bilinearly to images uint8 [n, H, W, 3]."""
    return resize(scores, (images.shape[1], images.shape[2]))
