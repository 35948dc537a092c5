"""One map from several: of layers, of networks, of scales and flips."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.cams.normalisation import MapNormalisation, normalise_maps
from wsss_core.cams.settings import CamMerge
from wsss_core.errors import InputError

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
    leading = {tuple(maps.shape[:2]) for maps in members}
    if len(leading) != 1:
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
        float [N, K, *grid] in 0..1.

    """
    if how == "sum_max":
        positive = torch.stack([resize_maps(F.relu(maps), grid) for maps in views])
        return normalise_maps(positive.sum(0), "max")
    scaled = torch.stack([resize_maps(normalise_maps(maps, "min_max"), grid) for maps in views])
    return scaled.mean(0)
