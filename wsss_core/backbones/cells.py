"""Which pixels of an image the cells of a network's map stand for.

A network of stride 32 gives 5 x 5 cells for an image of 134 px: they stand for 160 px, of which the
last 26 lie beyond the image. Patchify stems leave a remainder out (18 cells of 7 px for 128 px),
and convolutions without padding a margin on all sides. Nothing here loads torch.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsss_core.backbones.names import Layer, has_patch_tokens, timm_module
from wsss_core.plugins import is_plugin

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[float, float]
"""Where cells begin and end along an axis, in pixels of the image."""

_LARGEST = 32  # the cell of most networks' last stage; those of earlier stages divide it
_WITHOUT_PADDING = frozenset({"inception_resnet_v2", "inception_v3", "inception_v4"})
_MARGIN = 3  # cells; an Inception leaves out up to 2.4 at its borders


def cell_side(encoder: Any, layer: Layer | None = None) -> int | None:
    """Return the side of a cell of a layer's map in pixels.

    Args:
        encoder: of a network; of those of this package timm's `feature_info` is asked.
        layer: as `Encoder` takes it; None stands for the final map.

    Returns:
        The side; None where the map stands for the whole image: the patches of plain ViTs, which
        divide it, networks that resize images themselves (CrossViT), and those of plug-ins.

    """
    extractor = getattr(encoder, "extractor", None)
    info = getattr(extractor, "feature_info", None)
    if info is None or type(extractor).__name__ == "CrossVit":
        return None
    stages = getattr(info, "info", info)
    number = encoder.layer_number(-1 if layer is None else layer)
    return int(stages[number]["reduction"])


def cells_span(pixels: int, cells: int, side: int | None) -> Span:
    """Return the pixels that a row of cells stands for.

    Args:
        pixels: the image's side.
        cells: how many there are.
        side: of a cell in pixels; None: they share the image evenly.

    Returns:
        First and last border. Cells begin at the image's first pixel, or in networks without
        padding leave out equal margins. What neither explains is taken for the whole image.

    >>> cells_span(134, 5, 32), cells_span(128, 18, 7), cells_span(299, 8, 32)
    ((0, 160), (0, 126), (21.5, 277.5))
    """
    if side is None:
        return 0, pixels
    missing = pixels - cells * side
    if abs(missing) < side:
        return 0, cells * side
    if 0 < missing < _MARGIN * side:
        return missing / 2, pixels - missing / 2
    return 0, pixels


def cell_weights(valid: "Tensor", grid: tuple[int, int], side: int | None) -> "Tensor":
    """Return the share of each cell's pixels that are of an image and not padding.

    Pixels of a cell that lie beyond the view count neither way.

    Args:
        valid: float [B, 1, H, W], 1 at pixels of an image and 0 on padding.
        grid: (h, w) cells.
        side: of a cell in pixels, see `cell_side`.

    Returns:
        float [B, 1, h, w] in 0..1.

    """
    import torch  # here alone: a plan is made without it

    shares = []
    for pixels, cells in zip(valid.shape[-2:], grid, strict=True):
        first, last = cells_span(pixels, cells, side)
        borders = torch.linspace(first, last, cells + 1, device=valid.device).unsqueeze(1)
        starts = torch.arange(pixels, device=valid.device)
        overlap = torch.minimum(borders[1:], starts + 1) - torch.maximum(borders[:-1], starts)
        overlap = overlap.clamp_min(0)
        shares.append(overlap / overlap.sum(1, keepdim=True).clamp_min(1e-6))
    with torch.autocast(valid.device.type, enabled=False):
        return torch.einsum("bchw,ih,jw->bcij", valid.float(), *shares).clamp(0, 1)


def share_the_image(name: str, sides: Sequence[int], settings: Mapping[str, Any]) -> bool:
    """Return whether a network's cells stand for exactly the image, without building the network.

    Args:
        name: a timm model or a plug-in.
        sides: of the images that it is given, in pixels.
        settings: of the backbone in a study; `output_stride` is read.

    >>> share_the_image("resnet18", [224], {}), share_the_image("resnet18", [224, 112], {})
    (True, False)
    """
    if is_plugin(name) or has_patch_tokens(name):
        return True
    if timm_module(name) in _WITHOUT_PADDING:
        return False
    if timm_module(name) == "conformer":
        return True  # it takes whole patches alone
    cell = settings.get("output_stride") or _LARGEST
    return all(side % cell == 0 for side in sides)


def pooled(features: "Tensor", cells: "Tensor | None", how: str = "mean") -> "Tensor":
    """Return the mean over locations [B, C], by the weights of cells [B, 1, h, w] if there are.

    Args:
        features: float [B, C, h, w].
        cells: float [B, 1, h, w], the share of each cell that is no padding; None: all of it.
        how: "mean", or "max" over the cells that are at least half as much of the image as any.

    """
    if how == "max":
        if cells is not None:
            padding = cells < cells.amax((-2, -1), keepdim=True) / 2
            features = features.masked_fill(padding, -math.inf)
        return features.amax((-2, -1))
    if cells is None:
        return features.mean((-2, -1))
    import torch  # as above

    total = cells.sum((-2, -1)).clamp_min(torch.finfo(torch.float32).tiny)
    return (features * cells.to(features.dtype)).sum((-2, -1)) / total.to(features.dtype)
