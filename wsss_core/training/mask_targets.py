"""Masks as targets of the CAMs: refined maps of a network, fed back into the next training.

The loss compares distributions over the cells of a map: the softmax of the raw scores with the
mask, whose sum over the cells is 1. A constant added to a map changes nothing, so the loss says
where the class is and leaves to the classification loss whether it is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.backbones import Output
from wsss_core.data import IGNORED
from wsss_core.errors import InputError
from wsss_core.transfer.paradigms import Losses, Paradigm


@dataclass(frozen=True)
class MaskTargets:
    """The masks of the training images, and how strongly they pull.

    Attributes:
        masks: uint8 [N, S, S] in the images' order: 0 background, k + 1 class k, 255 ignored.
        weight: of the loss, above 0.

    """

    masks: NDArray[np.uint8]
    weight: float

    def check(self, paradigm: Paradigm, images: NDArray[np.uint8]) -> None:
        """Raise InputError unless the masks fit the images, and a network sees them in training."""
        if self.masks.shape != images.shape[:3] or self.masks.dtype != np.uint8:
            raise InputError(
                f"masks: expected uint8 {list(images.shape[:3])}, as the images; got "
                f"{self.masks.dtype} {list(self.masks.shape)}"
            )
        if not 0 < self.weight < np.inf:
            raise InputError(f"weight of the masks: expected above 0, got {self.weight!r}")
        if not paradigm.needs_images:
            raise InputError("masks as targets need an encoder that learns, or no feature cache")

    def added(self, paradigm: Paradigm, losses: Callable[[], Losses], masks: Tensor) -> Losses:
        """Return the losses of a batch with that of the student's maps added to the total.

        Args:
            paradigm: trains the student.
            losses: computes the paradigm's own losses.
            masks: of the views, int64 [B, H, W].

        """
        outputs: list[Output] = []

        def keep(module: torch.nn.Module, given: Any, output: Output) -> None:
            outputs.append(output)

        handle = paradigm.networks["student"].register_forward_hook(keep)
        try:
            own = losses()
        finally:
            handle.remove()
        added = mask_loss(outputs[-1].activation_maps, masks)
        return own._replace(total=own.total + self.weight * added)


def mask_loss(maps: Tensor, masks: Tensor) -> Tensor:
    """Return how far maps are from masks: KL(mask || softmax of the map), over the cells.

    Args:
        maps: float [B, K, h, w], raw class scores.
        masks: int64 [B, H, W]: 0 background, k + 1 class k, 255 ignored. A cell counts by the share
            of each class among its pixels that are not ignored; a cell without such pixels is left
            out.

    Returns:
        A scalar, 0 or more: the mean over images and classes. It is 0 for a class that the mask
        does not hold, and for a map whose softmax is the mask's share over its sum.

    """
    grid = (int(maps.shape[-2]), int(maps.shape[-1]))
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    known = F.adaptive_avg_pool2d((masks != IGNORED)[:, None].to(maps), grid)
    numbers = torch.arange(1, maps.shape[1] + 1, device=maps.device).view(1, -1, 1, 1)
    share = F.adaptive_avg_pool2d((masks[:, None] == numbers).to(maps), grid)
    share = (share / known.clamp_min(1e-12)).flatten(2)
    total = share.sum(-1, keepdim=True)
    target = share / total.clamp_min(1e-12)
    left_out = (known == 0).flatten(2)
    log_softmax = maps.flatten(2).masked_fill(left_out, -torch.inf).log_softmax(-1)
    # xlogy is 0 where the target is; so is the product, whose other factor may be infinite there.
    cross = torch.where(target > 0, target * log_softmax, torch.zeros_like(target))
    divergence = (torch.xlogy(target, target) - cross).sum(-1)
    return torch.where(total[..., 0] > 0, divergence, torch.zeros_like(divergence)).mean()
