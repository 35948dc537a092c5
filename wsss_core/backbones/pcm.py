"""The pixel correlation module (PCM): activation maps refined by what looks alike.

Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic
Segmentation" (SEAM), CVPR 2020, section 3.3: the affinity of two locations is the cosine of their
embeddings, cut at 0; each location's refined score is the affinity-weighted mean of all scores. The
embedding is a 1x1 projection of the image, of a low and of a high stage.

The class logit stays that of the unrefined map: an affinity that learned from image labels would
let every location look at the object and mark everything. What teaches it is SEAM's consistency of
two views (L_ECR, eq. 7): refined, the map of an image has to agree with the plain map of the image
at half its size, and the other way round. SEAM lets this loss and L_ER also move the encoder, which
there starts from ImageNet; from random weights that ruined the maps of procedural scenes (IoU 17
instead of 42), so here the affinity learns alone, and the encoder is that of the plain classifier.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOW_WIDTH, HIGH_WIDTH = 64, 128
"""Channels of SEAM's projections of layer3 and layer4."""

_EPSILON = 1e-5  # SEAM's, against a location without any embedding


class View(NamedTuple):
    """A batch at one size, as the module takes it.

    Attributes:
        images: normalised, float [B, 3, H, W].
        low: the next-to-last stage, float [B, C', h', w'].
        high: the last stage, float [B, C, h, w].
        maps: class activation maps, float [B, K, h, w].
        logits: float [B, K].
        cells: the share of each location that is no padding, float [B, 1, h, w]; None: all of it.

    """

    images: Tensor
    low: Tensor
    high: Tensor
    maps: Tensor
    logits: Tensor
    cells: Tensor | None = None


class PixelCorrelation(nn.Module):
    """Refines activation maps by the affinity of their locations.

    Args:
        low_channels: channels of the next-to-last stage.
        high_channels: channels of the last stage.

    """

    def __init__(self, low_channels: int, high_channels: int) -> None:
        super().__init__()
        width = LOW_WIDTH + HIGH_WIDTH
        self.low = nn.Conv2d(low_channels, LOW_WIDTH, 1, bias=False)
        self.high = nn.Conv2d(high_channels, HIGH_WIDTH, 1, bias=False)
        self.embed = nn.Conv2d(3 + width, width, 1, bias=False)

    def affinity(
        self, images: Tensor, low: Tensor, high: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        """Return the row-normalised affinity, float [B, L, L], of the high stage's L locations.

        Args:
            images: normalised, float [B, 3, H, W].
            low: float [B, C', h', w'].
            high: float [B, C, h, w].
            cells: float [B, 1, h, w], how much each location is looked at; None: 1 each.

        """
        grid = high.shape[-2:]
        low, high = F.relu(self.low(low.detach())), F.relu(self.high(high.detach()))
        parts = [
            F.interpolate(part, grid, mode="bilinear", align_corners=True) for part in (images, low)
        ]
        embedding = self.embed(torch.cat([*parts, high], dim=1)).flatten(2)
        embedding = embedding / (embedding.norm(dim=1, keepdim=True) + _EPSILON)
        alike = F.relu(embedding.transpose(1, 2) @ embedding)
        if cells is not None:
            alike = alike * cells.flatten(2)
        return alike / (alike.sum(dim=2, keepdim=True) + _EPSILON)

    def consistency(self, large: View, small: View) -> Tensor:
        """Return L_ECR of an image and the same at half its size, a scalar.

        Maps are cut at 0, scaled to a maximum of 1 and weighted by the predicted probability of
        their class, which stands for SEAM's label. The gradient reaches the affinity alone.
        """
        grid = small.maps.shape[-2:]

        def reduced(maps: Tensor) -> Tensor:
            return F.interpolate(maps, grid, mode="bilinear", align_corners=True)

        plain, plain_small = (_scaled(view.maps.detach(), view) for view in (large, small))
        refined, refined_small = (
            _scaled(self(view.maps.detach(), view.images, view.low, view.high, view.cells), view)
            for view in (large, small)
        )
        crossed = (reduced(refined) - plain_small).abs() + (reduced(plain) - refined_small).abs()
        if small.cells is None:
            return crossed.mean()
        # Padding is no place where two maps could differ.
        shares = small.cells.expand_as(crossed)
        return (crossed * shares).sum() / shares.sum().clamp_min(_EPSILON)

    def forward(
        self,
        maps: Tensor,
        images: Tensor,
        low: Tensor,
        high: Tensor,
        cells: Tensor | None = None,
    ) -> Tensor:
        """Return refined maps of maps float [B, K, h, w], of the same shape; see `affinity`."""
        weights = self.affinity(images, low, high, cells)
        return (maps.flatten(2) @ weights.transpose(1, 2)).unflatten(2, maps.shape[-2:])


def _scaled(maps: Tensor, view: View) -> Tensor:
    positive = F.relu(maps)
    if view.cells is not None:
        positive = positive * view.cells
    highest = positive.amax((-2, -1), keepdim=True)
    return positive / (highest + _EPSILON) * view.logits.detach().sigmoid()[..., None, None]
