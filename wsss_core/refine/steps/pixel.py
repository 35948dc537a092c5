"""Steps that follow the colours of the image alone: dense CRF and PAR."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from wsss_core.data.network_input import to_input
from wsss_core.progress import made_progress
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.settings import CRF_PRESETS
from wsss_core.refine.pixel_adaptive import POSITION_WEIGHT, par
from wsss_core.refine.steps.registry import Images, Known, Refiner, Scores, at_image_size


class DenseCrf(Refiner):
    """Dense CRF at the images' resolution: the posteriors of the foreground classes."""

    def __init__(
        self, preset: str = "thesis", background: float | None = None, backend: str = "torch"
    ) -> None:
        settings = CRF_PRESETS[preset]
        if background is not None:
            settings = replace(settings, background=background)
        self.settings, self.backend = settings, backend

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`; image by image, so that memory stays that of one lattice."""
        upsampled = at_image_size(scores, images)
        refined = np.empty_like(upsampled)
        for image, maps, out in zip(images, upsampled, refined, strict=True):
            unary = unary_probabilities(maps, preset=self.settings)
            posteriors = dense_crf(image, unary, preset=self.settings, backend=self.backend)
            out[...] = np.asarray(posteriors)[1:]
            made_progress()
        return refined


class PixelAdaptive(Refiner):
    """PAR at the images' resolution; what its weights sum to above 1 is divided out again."""

    def __init__(
        self, iterations: int = 10, dilations: Sequence[int] = (1, 2, 4, 8, 12, 24)
    ) -> None:
        self.iterations, self.dilations = iterations, tuple(dilations)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        upsampled = torch.from_numpy(at_image_size(scores, images))
        grown = (1 + POSITION_WEIGHT) ** self.iterations
        refined = []
        for image, maps in zip(images, upsampled, strict=True):
            weighted = par(
                to_input(image[None]),
                maps[None],
                iterations=self.iterations,
                dilations=self.dilations,
            )
            refined.append(weighted[0].numpy() / grown)
            made_progress()
        return np.stack(refined)
