"""How a segmenter's proposals and a class activation map become one mask: two published rules.

- The thesis's (arXiv 2507.21959): a proposal joins the mask if its overlap with the thresholded
  map is great enough; the thresholded map itself always stays.
- SAM_WSSS's (Chen et al., 2023, arXiv 2305.05803, `max_iou_imp2` of its code): a proposal joins a
  class if it lies mostly in it or covers most of it; of the map stays only what no proposal covers.

Both are functions of maps and proposals alone: no model is needed to study them.
"""

import math

import torch
from torch import Tensor

from wsss_core.errors import InputError

_ROUNDING = 1e-5  # how far beyond [0, 1] another refiner's float32 may end
_LEVELS = 255  # scores are compared after rounding to 256 levels, see wsss_core.evaluate.score_maps


def class_seeds(scores: Tensor, seed_threshold: float = 0.3) -> Tensor:
    """Return each class's pixels: where its score is the greatest and exceeds the threshold.

    Args:
        scores: float [K, H, W], 0-1.
        seed_threshold: a pixel at exactly this score belongs to no class.

    Returns:
        bool [K, H, W], disjoint; of equal scores the first class has the pixel.

    Raises:
        InputError: another shape, or scores outside [0, 1].

    """
    _check_scores(scores, (3,))
    winner = torch.nn.functional.one_hot(scores.argmax(dim=0), len(scores)).movedim(-1, 0).bool()
    return winner & (scores > seed_threshold)


def merge_thesis(
    scores: Tensor,
    proposals: Tensor,
    *,
    seed_threshold: float = 0.3,
    minimum_iou: float = 0.4,
    maximum_share: float = 0.5,
) -> Tensor:
    """Merge by the thesis's rule: the seed, and every proposal that overlaps it well.

    The seed is `scores > seed_threshold`. Proposals that cover more than `maximum_share` of the
    image are dropped; of the others those with IoU(seed, proposal) > `minimum_iou` are united with
    the seed. Where none is kept, the seed is the mask.

    Args:
        scores: float [H, W], or [K, H, W] for K classes, each merged on its own; 0-1.
        proposals: bool [M, H, W]; M may be 0.
        seed_threshold: a pixel at exactly this score is not in the seed.
        minimum_iou: a proposal at exactly this IoU is not kept.
        maximum_share: a proposal of exactly this share of the image may be kept.

    Returns:
        bool, the shape of `scores`.

    Raises:
        InputError: shapes that do not fit, or scores outside [0, 1].

    """
    _check_scores(scores, (2, 3))
    _check_proposals(proposals, scores.shape[-2:])
    areas = mask_areas(proposals)
    candidates = areas <= maximum_share * scores.shape[-2] * scores.shape[-1]
    proposals, areas = proposals[candidates], areas[candidates]
    merged = (scores > seed_threshold).contiguous()
    for seed in merged.view(-1, *scores.shape[-2:]):
        shared = mask_areas(proposals & seed)
        united = areas + seed.sum() - shared
        # Counts are exact; a product instead of a quotient spares the case of an empty union.
        seed |= _union(proposals[shared > minimum_iou * united.double()])
    return merged


def merge_sam_wsss(
    classes: Tensor,
    proposals: Tensor,
    *,
    minimum_inside: float = 0.5,
    minimum_cover: float = 0.85,
) -> Tensor:
    """Merge by SAM_WSSS's rule: where there are proposals, they take the class's place.

    Class by class, a proposal is accepted if more than `minimum_inside` of it lies in the class, or
    if it covers at least `minimum_cover` of the class's pixels. An accepted proposal is used up.
    The class becomes the union of what it accepted and of its own pixels that no proposal covers
    which was still free at its turn. Where two classes claim a pixel, the later one has it. A class
    without a pixel accepts nothing. The order of the classes thus matters; that of the proposals
    does not.

    Args:
        classes: bool [K, H, W], the pixels of each class, see `class_seeds`.
        proposals: bool [M, H, W]; M may be 0.
        minimum_inside: a proposal with exactly this share inside is not accepted for it.
        minimum_cover: a proposal that covers exactly this share is accepted for it.

    Returns:
        bool [K, H, W], disjoint.

    Raises:
        InputError: shapes or types that do not fit.

    """
    if classes.ndim != 3 or classes.dtype != torch.bool:
        raise InputError(f"classes: expected bool [K, H, W], got {_kind(classes)}")
    _check_proposals(proposals, classes.shape[-2:])
    free = torch.ones(len(proposals), dtype=torch.bool, device=proposals.device)
    merged = torch.zeros_like(classes)
    for k, own in enumerate(classes):
        size = own.sum()
        if not size:
            continue
        inside = mask_areas(proposals & own).double()
        accepted = inside > minimum_inside * mask_areas(proposals)
        accepted |= inside >= minimum_cover * size
        accepted &= free
        result = _union(proposals[accepted]) | (own & ~_union(proposals[free]))
        free &= ~accepted
        merged[:k] &= ~result
        merged[k] = result
    return merged


def refined_scores(
    scores: Tensor, merged: Tensor, *, soft: bool = False, seed_threshold: float = 0.3
) -> Tensor:
    """Turn a merged mask into a map that the threshold study can take.

    - Hard (default): 1 in the mask, 0 outside, as the thesis scores it. Merging has already decided
      by `seed_threshold`; every later threshold gives the same mask, and the study says so.
    - Soft: scores in the mask are raised to the first of 256 levels above `seed_threshold`, scores
      outside are lowered to the last level that is not above it. Thresholded there, the map is the
      merged mask; a higher threshold gives the unrefined scores' pixels within the mask, a lower
      one adds the best-scored pixels around it. The threshold that merging began with is favoured
      by construction: a soft map says how far scores carry beyond the mask, not where merging would
      have gone with another seed. For that, merge again.

    Args:
        scores: float [..., H, W], 0-1, what was merged.
        merged: bool, the same shape.
        soft: which of the two.
        seed_threshold: what the seed was made with, in [0, 1); only for the soft map.

    Returns:
        float32, the shape of `scores`, 0-1.

    Raises:
        InputError: shapes that differ, scores outside [0, 1], or a threshold outside [0, 1).

    """
    if merged.shape != scores.shape or merged.dtype != torch.bool:
        raise InputError(f"merged: expected bool {list(scores.shape)}, got {_kind(merged)}")
    if not soft:
        return merged.float()
    _check_scores(scores, range(2, scores.ndim + 1))
    if not 0 <= seed_threshold < 1:
        raise InputError(f"seed_threshold: expected a value in [0, 1), got {seed_threshold}")
    below = math.floor(_LEVELS * seed_threshold)
    values = scores.float().clamp(0, 1)
    return torch.where(
        merged, values.clamp_min((below + 1) / _LEVELS), values.clamp_max(below / _LEVELS)
    )


def mask_areas(masks: Tensor) -> Tensor:
    """Count the pixels of each mask, bool [M, H, W] to int64 [M].

    Mask by mask, because whole masks are counted some 20 times faster than rows are summed.
    """
    if not len(masks):
        return torch.zeros(0, dtype=torch.int64, device=masks.device)
    return torch.stack([mask.count_nonzero() for mask in masks])


def _union(masks: Tensor) -> Tensor:
    if not len(masks):
        return masks.new_zeros(masks.shape[1:])
    return masks.view(torch.uint8).amax(dim=0).bool()


def _check_scores(scores: Tensor, dimensions: tuple[int, ...] | range) -> None:
    if scores.ndim not in dimensions or not scores.is_floating_point() or not scores.numel():
        expected = " or ".join("[H, W]" if n == 2 else "[K, H, W]" for n in dimensions)
        raise InputError(f"scores: expected float {expected}, got {_kind(scores)}")
    lowest, highest = (float(value) for value in scores.aminmax())
    if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):  # NaN fails too
        raise InputError(
            f"scores: expected values in [0, 1] (normalise them first), got {lowest:.6g} to "
            f"{highest:.6g}"
        )


def _check_proposals(proposals: Tensor, size: tuple[int, ...]) -> None:
    if (
        proposals.ndim != 3
        or proposals.dtype != torch.bool
        or tuple(proposals.shape[1:]) != tuple(size)
    ):
        raise InputError(
            f"proposals: expected bool [M, {size[0]}, {size[1]}] like the scores, got "
            f"{_kind(proposals)}"
        )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
