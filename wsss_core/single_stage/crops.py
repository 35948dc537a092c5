"""ToCo's class token contrast: an image's class token against those of local crops.

Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation", CVPR 2023 (arXiv
2303.01267), section 3.4 and equation 5, with the numbers of the authors' code. Crops are centred
where the auxiliary CAM is not sure of a class. A crop of background is a negative: the class token
of the image should be unlike its own. Others may hold parts of objects that the CAM misses, which
the image's class token should tell.

The image's token goes through a projector that is a running average of the crops' projector, and
has no gradient. There is a single view of the image here, where the code has two.
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Network, PatchTokens
from wsss_core.cams import resized_for
from wsss_core.data import IGNORED
from wsss_core.errors import InputError
from wsss_core.single_stage.losses import at_least_single
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.text_network import class_token_vit, normed_tokens
from wsss_core.transfer import move_average

MOMENTUM = 0.9
"""Of the running average of the crops' projector."""

_TEMPERATURE = 0.5


class LocalCrops(NamedTuple):
    """Local crops of images.

    Attributes:
        corners: int64 [B, N, 2], the upper left pixel (row, column) of each.
        negative: bool [B, N], whether it is of the background.

    """

    corners: Tensor
    negative: Tensor


class CropProjector(nn.Module):
    """Two hidden layers with GELU, a bottleneck of unit length, and a linear layer of unit rows.

    Args:
        width: C of a class token.
        hidden: of both hidden layers.
        bottleneck: channels before the last layer.
        outputs: channels after it.

    """

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = nn.Linear(bottleneck, outputs, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the projection of tokens float [..., C], float [..., outputs]."""
        unit = F.normalize(self.layers(tokens), dim=-1)
        return F.linear(unit, F.normalize(self.last.weight, dim=-1))


class CropContrast(nn.Module):
    """The projectors of class tokens, and the passes of crops through an encoder.

    Args:
        network: over a plain ViT with a class token.
        settings: of the recipe.
        image_size: side of the images in pixels.

    Raises:
        InputError: another encoder, or crops that it or the image does not take.

    """

    def __init__(self, network: Network, settings: SingleStageSettings, image_size: int) -> None:
        super().__init__()
        encoder, side = network.encoder, settings.crop_side
        if not isinstance(encoder, PatchTokens) or class_token_vit(encoder) is None:
            raise InputError("losses: crop_contrast expects a plain ViT with a class token")
        if side % encoder.size_multiple or side > image_size:
            raise InputError(
                f"crop_side is {side}; expected a multiple of the patch of "
                f"{encoder.size_multiple} px, {image_size} at most"
            )
        self.settings = settings
        self.local = CropProjector(network.channels, *settings.crop_widths)
        self.whole = copy.deepcopy(self.local).requires_grad_(False)

    def forward(self, network: Network, images: Tensor, token: Tensor, crops: LocalCrops) -> Tensor:
        """Return the contrast of a batch.

        Args:
            network: its encoder sees the crops.
            images: float [B, 3, H, W] in 0..1.
            token: float [B, C], the images' class tokens after the last norm.
            crops: of each image.

        """
        encoder, side = network.encoder, self.settings.crop_side
        shown = cut_out(images, crops.corners, side)
        normalised = (shown.flatten(0, 1) - network.mean) / network.std
        assert isinstance(encoder, PatchTokens)
        with resized_for(encoder.vit, side), normed_tokens(encoder) as kept:
            encoder(normalised)
        local = self.local(kept[-1][:, 0]).unflatten(0, crops.negative.shape)
        with torch.no_grad():
            whole = self.whole(token)
        return crop_contrast(whole, local, crops.negative)

    def after_step(self) -> None:
        """Move the average of the crops' projector."""
        move_average(self.whole.state_dict(), self.local.state_dict(), 1 - MOMENTUM)


def cut_out(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Return square crops float [B, N, 3, side, side] of images [B, 3, H, W] at their corners."""
    return torch.stack(
        [
            torch.stack([image[:, r : r + side, c : c + side] for r, c in of_image.tolist()])
            for image, of_image in zip(images, corners, strict=True)
        ]
    )


def draw_crops(
    best: Tensor, labels: Tensor, settings: SingleStageSettings, valid: Tensor | None = None
) -> LocalCrops:
    """Draw the crops of a batch; torch's random numbers of the CPU say where.

    Args:
        best: float [B, H, W] in 0..1, the largest auxiliary map of the classes of an image.
        labels: int64 [B, H, W], cut from these maps: class + 1, 0 background, 255 unknown.
        settings: how many, how large, where, and which are of the background.
        valid: float [B, 1, H, W], 0 on padding, where no crop is centred; None: no padding.

    """
    count, side = settings.crops, settings.crop_side
    height, width = (int(n) for n in best.shape[-2:])
    inside = torch.ones_like(best, dtype=torch.bool) if valid is None else valid[:, 0] > 0
    unsure = inside & (best < settings.crop_below)
    drawn = torch.rand(len(best), count)
    said = torch.where(labels == IGNORED, 1.0, torch.where(labels > 0, 2.0, 0.0))
    corners = torch.zeros(len(best), count, 2, dtype=torch.long)
    negative = torch.zeros(len(best), count, dtype=torch.bool)
    for image in range(len(best)):
        places = unsure[image] if bool(unsure[image].any()) else inside[image]
        candidates = places.flatten().nonzero()[:, 0].cpu()
        if not len(candidates):
            candidates = torch.arange(height * width)
        for crop in range(count):
            at = int(candidates[math.floor(float(drawn[image, crop]) * len(candidates))])
            row = min(max(at // width - side // 2, 0), height - side)
            column = min(max(at % width - side // 2, 0), width - side)
            corners[image, crop] = torch.tensor([row, column])
            mean = said[image, row : row + side, column : column + side].mean()
            negative[image, crop] = bool(mean <= settings.crop_negative)
    return LocalCrops(corners, negative.to(best.device))


def crop_contrast(whole: Tensor, local: Tensor, negative: Tensor) -> Tensor:
    """Return the contrast of images with their crops, InfoNCE at a temperature of 0.5.

    -log of e(w . l+) / (e(w . l+) + sum over negatives of e(w . l-)) of each crop l+ that is no
    negative, e(x) = exp(cos / 0.5); the mean over these of all images. Without one it is 0.

    Args:
        whole: float [B, D], of the images.
        local: float [B, N, D], of their crops.
        negative: bool [B, N], which crops are of the background.

    """
    unit = F.normalize(at_least_single(whole), dim=-1)
    with torch.autocast(whole.device.type, enabled=False):
        alike = F.normalize(at_least_single(local), dim=-1) @ unit[:, :, None]
    alike = alike[..., 0] / _TEMPERATURE
    others = alike.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
    surprise = torch.logaddexp(alike, others) - alike
    return surprise.masked_fill(negative, 0).sum() / (~negative).sum().clamp_min(1)
