"""Pixel-adaptive refinement (PAR): scores averaged over neighbours of like colour, iterated.

Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised Semantic Segmentation
with Transformers" (AFA), CVPR 2022, "Pixel-Adaptive Refinement", as the code published with it
does it: per colour channel the difference to a neighbour is divided by the standard deviation of
all neighbours, and the position term by that of all distances.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.errors import InputError

DILATIONS = (1, 2, 4, 8, 12, 24)
BANDWIDTH = 0.3
"""w1 of AFA's code, of colours and positions alike."""

POSITION_WEIGHT = 0.01
"""w2 of AFA's code."""

_EPSILON = 1e-8  # AFA's, against neighbours that are all alike


def par(
    images: Tensor,
    scores: Tensor,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    bandwidth: float = BANDWIDTH,
    position_weight: float = POSITION_WEIGHT,
) -> Tensor:
    """Refine scores by the colours around each pixel.

    With i a pixel, j its 8 neighbours at each dilation (48 in all, the border repeated beyond the
    image), s_c and s_p the standard deviations over all j of channel c and of the distance::

        a_ij = softmax_j(-mean_c ((I_ic - I_jc) / (w s_c))^2)
             + position_weight softmax_j(-(|i - j| / (w s_p))^2)
        score_i <- sum_j a_ij score_j

    The weights of a pixel sum to 1 + position_weight, so a constant grows by that factor each
    iteration (1.105 in all by default), as it does in the published code.

    Args:
        images: float [B, 3, H, W]; the scale cancels, so 0..1 and 0..255 give the same.
        scores: float [B, K, H, W], the images' size.
        iterations: 0 or more.
        dilations: distances of the rings in pixels, each 1 or more.
        bandwidth: w, above 0; smaller follows colours more closely.
        position_weight: 0 or more.

    Returns:
        float [B, K, H, W] of the scores' dtype; half precision is computed in float32. The scores'
        gradient passes through.

    Raises:
        InputError: shapes that do not meet or settings outside their range.

    """
    _check(images, scores, iterations, dilations, bandwidth, position_weight)
    wide = torch.promote_types(scores.dtype, torch.float32)
    shifts = [(dy * d, dx * d) for d in dilations for dy, dx in _RING]
    weights = _affinity(images.to(wide), shifts, bandwidth, position_weight)
    refined = scores.to(wide)
    reach = max(dilations)
    for _ in range(iterations):
        padded = F.pad(refined, [reach] * 4, mode="replicate")
        refined = torch.zeros_like(refined)
        for number, shift in enumerate(shifts):
            refined.addcmul_(weights[:, number, None], _seen(padded, shift, reach))
    return refined.to(scores.dtype)


_RING = [step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0)]


def _seen(padded: Tensor, shift: tuple[int, int], reach: int) -> Tensor:
    """Return each pixel's view at (dy, dx) from it, of maps padded by `reach` on all sides."""
    height, width = padded.shape[-2] - 2 * reach, padded.shape[-1] - 2 * reach
    top, left = reach + shift[0], reach + shift[1]
    return padded[..., top : top + height, left : left + width]


def _affinity(
    images: Tensor, shifts: list[tuple[int, int]], bandwidth: float, position_weight: float
) -> Tensor:
    """Return a_ij as float [B, number of neighbours, H, W]."""
    reach = max(dy for dy, _ in shifts)
    padded = F.pad(images, [reach] * 4, mode="replicate")
    count = len(shifts)
    # Two passes over the neighbours, not one stack of them: 3 maps of memory instead of 144.
    mean, squares = torch.zeros_like(images), torch.zeros_like(images)
    for shift in shifts:
        mean += _seen(padded, shift, reach) / count
    for shift in shifts:
        squares += (_seen(padded, shift, reach) - mean).square()
    scale = bandwidth * ((squares / (count - 1)).sqrt() + _EPSILON)
    batch, _, height, width = images.shape
    logits = images.new_empty(batch, count, height, width)
    for number, shift in enumerate(shifts):
        difference = (images - _seen(padded, shift, reach)) / scale
        logits[:, number] = -difference.square().mean(1)
    distances = torch.tensor([math.hypot(*shift) for shift in shifts], dtype=torch.float64)
    nearness = torch.softmax(-(distances / (bandwidth * (distances.std() + _EPSILON))).square(), 0)
    return logits.softmax(1) + position_weight * nearness.to(images)[:, None, None]


def _check(
    images: Tensor,
    scores: Tensor,
    iterations: int,
    dilations: Sequence[int],
    bandwidth: float,
    position_weight: float,
) -> None:
    shapes = f"images {list(images.shape)}, scores {list(scores.shape)}"
    if images.ndim != 4 or scores.ndim != 4 or 0 in (*images.shape, *scores.shape):
        raise InputError(f"par expects non-empty [B, 3, H, W] and [B, K, H, W]; got {shapes}")
    if images.shape[0] != scores.shape[0] or images.shape[2:] != scores.shape[2:]:
        raise InputError(f"par expects scores of the images' number and size; got {shapes}")
    if not (images.is_floating_point() and scores.is_floating_point()):
        raise InputError(f"par expects floats; got {images.dtype}, {scores.dtype}")
    if not bool(images.isfinite().all() & scores.isfinite().all()):
        raise InputError("par expects finite images and scores; got NaN or infinity")
    for name, value, expected, fits in (
        ("iterations", iterations, "0 or more", iterations >= 0),
        ("dilations", dilations, "one or more distances from 1 up", min(dilations, default=0) >= 1),
        ("bandwidth", bandwidth, "a finite number above 0", 0 < bandwidth < math.inf),
        ("position_weight", position_weight, "0 or more", 0 <= position_weight < math.inf),
    ):
        if not fits:
            raise InputError(f"{name} is {value!r}; expected {expected}")
