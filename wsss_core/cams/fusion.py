"""Maps that lose their scale, classes that lose their maps, and one map made of several.

The normalisations are those of `wsss_core.evaluate.normalise`, for maps that are still on the
device. Several maps are those of layers, of networks, of scales and flips.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.cams.settings import CamMerge
from wsss_core.errors import InputError

MapNormalisation = Literal["raw", "max", "min_max"]

_STEPS = 64  # epsilons, as in `wsss_core.evaluate.normalise`: what rounding may make a map span


def normalise_maps(maps: Tensor, how: MapNormalisation) -> Tensor:
    """Bring each map to [0, 1], on its own. A map with a value that is not finite gets NaN.

    - `raw`: as it is.
    - `max`: max(x, 0) / max(x), the choice of PSA (Ahn and Kwak, 2018, arXiv 1803.10464). A map
      without a positive score becomes 0, a flat map with one becomes 1.
    - `min_max`: (x - min) / (max - min), the thesis's choice (arXiv 2507.21959). A flat map becomes
      0.

    A map is flat if it is constant but for rounding, 64 epsilons of its type at its largest value.

    Args:
        maps: float [..., h, w].
        how: the name of the choice.

    Returns:
        float [..., h, w], of the same dtype; half precision is computed in float32, which holds
        the difference of any two of its numbers.

    Raises:
        InputError: for another name, type or shape.

    """
    if maps.ndim < 2 or not maps.is_floating_point():
        raise InputError(f"maps: expected floats [..., h, w], got {maps.dtype} {list(maps.shape)}")
    if how == "raw":
        return maps
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    lowest, highest = wide.amin((-2, -1), keepdim=True), wide.amax((-2, -1), keepdim=True)
    rounding = _STEPS * torch.finfo(maps.dtype).eps * torch.maximum(lowest.abs(), highest.abs())
    flat = (highest - lowest <= rounding) & rounding.isfinite()
    if how == "max":
        shifted, span = F.relu(torch.where(flat, highest, wide)), F.relu(highest)
    elif how == "min_max":
        shifted, span = wide - lowest, torch.where(flat, 0, highest - lowest)
    else:
        raise InputError(
            f"normalisation {how!r}: expected one of {', '.join(get_args(MapNormalisation))}"
        )
    # Not 0 / 0, whose gradient is NaN even where it is not chosen.
    none = span == 0
    return torch.where(none, 0, shifted / span.masked_fill(none, 1.0)).to(maps.dtype)


def predicted_classes(logits: Tensor, probability: float = 0.5) -> Tensor:
    """Return the classes of at least this probability, which the network says are there.

    Args:
        logits: float [N, K].
        probability: 0 to 1, of each class on its own (sigmoid).

    Returns:
        bool [N, K].

    """
    return logits.sigmoid() >= probability


def gate(maps: Tensor, keep: Tensor) -> Tensor:
    """Set the maps of classes that are not kept to 0.

    A map that was normalised peaks at 1 whether its class is in the image or not. Which classes
    are, their labels say, or the network (`predicted_classes`).

    Args:
        maps: float [N, K, h, w].
        keep: bool [N, K], or image-level labels of 0 and 1.

    Raises:
        InputError: keep is not of the maps' N and K.

    """
    if keep.shape != maps.shape[:2]:
        raise InputError(
            f"keep: expected the shape {list(maps.shape[:2])} of the maps' images and classes, "
            f"got {list(keep.shape)}"
        )
    return torch.where(keep.to(maps.device, torch.bool)[..., None, None], maps, 0)


Grid = tuple[int, int]


def resize_maps(maps: Tensor, grid: Grid) -> Tensor:
    """Resize maps float [N, K, h, w] to a grid, bilinearly with align_corners=False."""
    if tuple(maps.shape[-2:]) == grid:
        return maps
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def fuse(
    members: Sequence[Tensor], grid: Grid | None = None, how: MapNormalisation = "min_max"
) -> Tensor:
    """Fuse the maps of layers or of networks: normalise each, average, normalise again.

    This is the CAM fusion of the thesis (arXiv 2507.21959), which takes Grad-CAM at norm1 of a
    ViT's blocks -5, -4, -2 and -1.

    Args:
        members: float [N, K, h, w] each, grids may differ.
        grid: (h, w) of the result; the largest of the members' by default.
        how: the normalisation, before and after.

    Returns:
        float [N, K, h, w].

    Raises:
        InputError: no member, or members of other images or classes.

    """
    leading = {tuple(maps.shape[:-2]) for maps in members}
    if len(leading) != 1 or len(*leading) != 2:
        raise InputError(f"maps to fuse: expected the same N and K of all, got {sorted(leading)}")
    if grid is None:
        largest = max(members, key=lambda maps: maps[0, 0].numel())
        grid = (largest.shape[-2], largest.shape[-1])
    resized = torch.stack([resize_maps(normalise_maps(maps, how), grid) for maps in members])
    return normalise_maps(resized.mean(0), how)


def merge(views: Sequence[Tensor], grid: Grid, how: CamMerge) -> Tensor:
    """Merge the maps of several scales and flips.

    - `normalised_mean`: min-max each, then average (the thesis). All views count alike, however far
      apart their raw scores are.
    - `sum_max`: sum the positive scores, then divide by the maximum: PSA (Ahn and Kwak, 2018,
      arXiv 1803.10464) and IRN (Ahn et al., 2019, arXiv 1904.05044).

    Either is done at each view's own grid before it is resized.

    Args:
        views: raw maps float [N, K, h, w] each, flipped back.
        grid: (h, w) of the result.
        how: the order.

    Returns:
        float `[N, K, *grid]` in 0..1.

    Raises:
        InputError: no view, views of other images or classes, or another order.

    """
    if how not in get_args(CamMerge):
        raise InputError(f"merge {how!r}: expected one of {', '.join(get_args(CamMerge))}")
    leading = {tuple(maps.shape[:-2]) for maps in views}
    if len(leading) != 1 or len(*leading) != 2:
        shapes = [list(maps.shape) for maps in views]
        raise InputError(f"views: expected [N, K, h, w] of the same N and K, got {shapes}")
    if how == "sum_max":
        positive = torch.stack([resize_maps(F.relu(maps), grid) for maps in views])
        return normalise_maps(positive.sum(0), "max")
    scaled = torch.stack([resize_maps(normalise_maps(maps, "min_max"), grid) for maps in views])
    return scaled.mean(0)
