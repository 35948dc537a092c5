"""Steps that follow the colours of the image alone: dense CRF, PAR and alpha matting."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.data.network_input import to_input
from wsss_core.progress import made_progress
from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
from wsss_core.refine.crf.settings import CRF_PRESETS, CrfSettings
from wsss_core.refine.matting import alpha_matting
from wsss_core.refine.own_thresholds import OwnThreshold, own_threshold
from wsss_core.refine.pixel_adaptive import POSITION_WEIGHT, par
from wsss_core.refine.steps.registry import Images, Known, Refiner, Scores, at_image_size


class DenseCrf(Refiner):
    """Dense CRF at the images' resolution: the posteriors of the foreground classes.

    A `background` of "otsu" or {"quantile": q} follows each image's maps: foreground and background
    are equal at their own threshold, see `own_threshold`. Maps without one, which are flat, have
    the preset's background.
    """

    def __init__(
        self,
        preset: str = "thesis",
        background: float | OwnThreshold | None = None,
        backend: str = "torch",
    ) -> None:
        self.settings, self.backend = CRF_PRESETS[preset], backend
        self.rule: OwnThreshold | None = None
        if isinstance(background, int | float):
            self.settings = replace(self.settings, background=background)
        else:
            self.rule = background

    def settings_of(self, maps: NDArray[np.float32]) -> CrfSettings:
        """Return the settings for an image's maps, float32 [K, H, W]."""
        threshold = None if self.rule is None else own_threshold(maps, self.rule)
        return self.settings if threshold is None else self.settings.meeting_at(threshold)

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`; image by image, so that memory stays that of one lattice."""
        upsampled = at_image_size(scores, images)
        refined = np.empty_like(upsampled)
        for image, maps, out in zip(images, upsampled, refined, strict=True):
            settings = self.settings_of(maps)
            unary = unary_probabilities(maps, preset=settings)
            posteriors = dense_crf(image, unary, preset=settings, backend=self.backend)
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


class AlphaMatting(Refiner):
    """Alpha matting at the images' resolution, see `wsss_core.refine.alpha_matting`."""

    def __init__(
        self, foreground: float = 0.8, background: float = 0.2, epsilon: float = 1e-7
    ) -> None:
        self.settings = {"foreground": foreground, "background": background, "epsilon": epsilon}

    def refine(self, images: Images, scores: Scores, known: Known) -> Scores:
        """See `Refiner`."""
        refined = []
        for image, maps in zip(images, at_image_size(scores, images).clip(0, 1), strict=True):
            refined.append(alpha_matting(image, maps, **self.settings))
            made_progress()
        return np.stack(refined)
