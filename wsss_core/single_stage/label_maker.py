"""Labels of pixels from CAMs in the middle of a training, by two background scores.

A pixel is of a class if the class wins against a high background score, background if background
wins against a low one, and unknown (255) between the two. So do AFA, ToCo, DuPL and their
successors; AFA's propagated labels are made of scores that an affinity has moved before. WeCLIP has
one background score, 1 - the largest map, and no unknown pixel.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from wsss_core.data import IGNORED
from wsss_core.refine import dense_crf, par
from wsss_core.segmentation import resized
from wsss_core.single_stage.affinity import propagate
from wsss_core.single_stage.class_maps import MapsOnTheFly
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.vocabulary import LabelSource

Refine = Callable[[Tensor, Tensor], Tensor]
"""From images float [B, 3, H, W] in 0..1 and scores [B, K + 1, H, W] to better scores."""


def with_background(maps: Tensor, present: Tensor, background: float | tuple[float, ...]) -> Tensor:
    """Return the softmax over the background and the classes that an image holds.

    Args:
        maps: float [B, K, H, W] in 0..1.
        present: bool [B, K].
        background: its score at every pixel; or one for each class, of which the class with the
            largest map at a pixel says the background's score there.

    Returns:
        float [B, K + 1, H, W], the background first; 0 for classes that are not there.

    """
    inside = maps.masked_fill(~present[:, :, None, None], -torch.inf)
    if isinstance(background, tuple):
        score = maps.new_tensor(background)[inside.argmax(1, keepdim=True)]
    else:
        score = torch.full_like(maps[:, :1], background)
    return torch.cat([score, inside], 1).softmax(1)


def with_inverse(maps: Tensor, present: Tensor) -> Tensor:
    """Return maps behind a background that scores 1 - the largest of them, as in WeCLIP.

    Args:
        maps: float [B, K, H, W] in 0..1.
        present: bool [B, K].

    Returns:
        float [B, K + 1, H, W], the background first; 0 for classes that are not there.

    """
    inside = maps * present[:, :, None, None]
    return torch.cat([1 - inside.amax(1, keepdim=True), inside], 1)


def two_threshold_labels(high: Tensor, low: Tensor) -> Tensor:
    """Return labels int64 [B, H, W] from refined scores under the two background scores.

    Args:
        high: float [B, K + 1, H, W], under the high background score.
        low: the same under the low one.

    Returns:
        The class that wins in `high`; 0 where the background wins in both; 255 elsewhere.

    """
    certain, likely = high.argmax(1), low.argmax(1)
    labels = certain.masked_fill(certain == 0, IGNORED)
    return labels.masked_fill((certain == 0) & (likely == 0), 0)


class LabelMaker:
    """Makes labels as a recipe says.

    Args:
        settings: of the recipe.

    """

    def __init__(self, settings: SingleStageSettings) -> None:
        self.settings = settings
        self._refine = refiner_of(settings)

    def __call__(
        self,
        images: Tensor,
        found: MapsOnTheFly,
        present: Tensor,
        valid: Tensor | None = None,
        source: LabelSource = "cam",
        done: float = 0.0,
    ) -> Tensor:
        """Return the labels of a batch, int64 [B, H, W].

        An image without a class is background throughout, as its label says.

        Args:
            images: float [B, 3, H, W] in 0..1.
            found: their CAMs, and the affinity if labels are propagated.
            present: bool [B, K], the classes that each image holds.
            valid: float [B, 1, H, W], 0 on padding, where labels are 255; None: no padding.
            source: what labels are made of.
            done: the share of all steps that is done, which says the high score.

        """
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            if self.settings.background == "inverse":
                labels = self._refined(images.float(), found, present, None, source).argmax(1)
            else:
                high, low = (
                    self._refined(images.float(), found, present, background, source)
                    for background in (self.settings.high_at(done), self.settings.low)
                )
                labels = two_threshold_labels(high, low)
        return labels if valid is None else labels.masked_fill(valid[:, 0] == 0, IGNORED)

    def _refined(
        self,
        images: Tensor,
        found: MapsOnTheFly,
        present: Tensor,
        background: float | tuple[float, ...] | None,
        source: LabelSource,
    ) -> Tensor:
        """Return refined scores [B, K + 1, H, W]; background None is the inverse of the maps."""

        def scored(maps: Tensor) -> Tensor:
            if background is None:
                return with_inverse(maps, present)
            return with_background(maps, present, background)

        size = (int(images.shape[-2]), int(images.shape[-1]))
        small = tuple(max(1, side // self.settings.shrink) for side in size)
        grid = (small[0], small[1])
        maps = found.maps.float()
        if source == "propagated":
            assert found.affinity is not None
            scores = scored(resized(maps, found.grid))
            scores = propagate(scores, found.affinity.float(), self.settings.affinity_radius)
            scores = resized(resized(scores, size), grid)
        else:
            scores = scored(resized(maps, grid))
        return resized(self._refine(resized(images, grid), scores), size)


def refiner_of(settings: SingleStageSettings) -> Refine:
    """Return what refines the scores of labels."""
    options = dict(settings.refiner_options)
    if settings.refiner == "none":
        return lambda images, scores: scores
    if settings.refiner == "par":
        return lambda images, scores: par(images, scores, **options)
    preset = options.pop("preset", "afa")

    def crf(images: Tensor, scores: Tensor) -> Tensor:
        pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        likely = scores / scores.sum(1, keepdim=True)
        each = zip(pixels.cpu().numpy(), likely, strict=True)
        refined = [dense_crf(image, one, preset=preset, **options) for image, one in each]
        return torch.stack([torch.as_tensor(one) for one in refined]).to(scores)

    return crf
