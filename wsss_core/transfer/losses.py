"""The transfer loss L_tf between two feature maps: metric (cosine, L1, L2) x level.

The level says what is compared as one vector: the whole map of an image (`global`, C*H*W
numbers), each channel's map (`channel`, H*W numbers) or each location's feature (`spatial`,
C numbers). Definitions: Zhang, "Mitigating Spurious Correlations in Weakly Supervised Semantic
Segmentation via Cross-architecture Consistency Regularization", arXiv 2507.21959, and the
training code published with it; where the two leave the scale open, `variant` names the choice.

Value and gradient are finite for maps up to 1e20. An image's map with a number beyond `BOUND` is
compared as if it were scaled down to that (of untrained networks, Inception-v3 reaches 1e8,
MobileOne 4e14). A vector not longer than `SHORTEST` gets no gradient from the cosine, which would
otherwise be 1e8 or more. Maps within these bounds are compared as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, load_plugin
from wsss_core.transfer.names import METRICS, TRANSFER_LEVELS, VARIANTS, known_name

BOUND = 2.0**30
"""The greatest magnitude that maps are compared at, 1.1e9. Each gradient, of maps and of the
weights that made them, is then at most some 2 * `BOUND`^2, whose square, which Adam keeps, fits
float32."""

SHORTEST = 1e-8
"""A vector of this length or less has no direction: its cosine with any other is 0."""


def transfer_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    metric: str,
    level: str,
    variant: str = "scaled",
    temperature: float = 1.0,
) -> Tensor:
    """Return the distance between a student's and a teacher's map, 0 where they agree.

    With v running over the vectors that `level` names (all of them, of all B images):

    ======  =========================================  ==========================================
    metric  variant "scaled" (default)                 variant "thesis" (its training code)
    ======  =========================================  ==========================================
    cosine  mean_v (1 - cos(s_v, t_v))                 the same; at the channel level cos is taken
                                                       over all Cs x Ct pairs of channels
    l1      `mean_v |s_v - t_v|_1 / len(v)`            global the same; else `mean_v |s_v - t_v|_1`
    l2      global: mean squared error; else           `mean_v |s_v - t_v|_2`, un-squared, which
            `mean_v |s_v - t_v|_2 / sqrt(len(v))`      grows with sqrt(len(v))
    kl      `T^2 mean KL(sigma(t/T) || sigma(s/T))`    the same
    ======  =========================================  ==========================================

    Scaled L1 is one number at all three levels: a mean of means over vectors of equal length.
    Scaled L2 is not: the root inside each vector weighs a few large errors less than the square
    of the global level does. KL is that of independent labels (each class is there or not), over
    all entries, scaled by T^2 as in Hinton et al., "Distilling the Knowledge in a Neural Network",
    arXiv 1503.02531. The un-squared thesis L2 is the one that collapsed in co-training.

    Args:
        student: float [B, C, H, W]; carries the gradient.
        teacher: float [B, C, H', W'] on the same device. Where the grids differ, the coarser one is
            resized to the finer (bilinear, align_corners=False). Detach it for a frozen teacher:
            in co-training both sides learn, so it is not detached here.
        metric: "cosine", "l1", "l2" or "kl" (upper case is accepted), or a plug-in
            "module:attribute", called as f(student, teacher, level=level) on maps of one grid.
        level: "global", "channel" or "spatial".
        variant: "scaled" or "thesis".
        temperature: T of "kl", above 0.

    Returns:
        A scalar tensor, cosine in [0, 2] up to rounding, the others >= 0. Half precision is
        computed in float32. A vector that is all zero has cosine 0 with any other, so it costs 1,
        and the cosine does not move it.

    Raises:
        InputError: an unknown name, maps that are not [B, C, H, W], or shapes that do not meet.

    Example:
        >>> map_ = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> f"{transfer_loss(map_, 5 * map_, metric='cosine', level='global'):.6f}"
        '0.000000'
        >>> transfer_loss(map_, map_ + 2, metric="l2", level="global").item()
        4.0

    """
    metric = known_name("metric", metric, METRICS)
    level = known_name("level", level, TRANSFER_LEVELS)
    variant = known_name("variant", variant, VARIANTS)
    all_pairs = (metric, level, variant) == ("cosine", "channel", "thesis")
    student, teacher = on_one_grid(student, teacher, same_channels=not all_pairs)
    if is_plugin(metric):
        return _plugin_loss(metric, student, teacher, level)
    if metric == "kl":
        return _bernoulli_kl(student, teacher, temperature)
    if all_pairs:
        return _all_pairs_channel_cosine(student, teacher)
    student, teacher = _vectors(student, level), _vectors(teacher, level)
    if metric == "cosine":
        return 1 - F.cosine_similarity(directed(student), directed(teacher), dim=-1).mean()
    difference = student - teacher
    if metric == "l1":
        summed = variant == "thesis" and level != "global"
        return difference.abs().sum(-1).mean() if summed else difference.abs().mean()
    if variant == "thesis":
        return vector_norms(difference).mean()
    if level == "global":
        return difference.square().mean()
    return vector_norms(difference).mean() / difference.shape[-1] ** 0.5


def on_one_grid(student: Tensor, teacher: Tensor, *, same_channels: bool) -> tuple[Tensor, Tensor]:
    """Return two maps as losses compare them: bounded, not in half precision, on the finer grid.

    Args:
        student: float [B, C, H, W].
        teacher: float [B, C', H', W'].
        same_channels: require C' = C.

    Raises:
        InputError: maps that are not [B, C, H, W], are empty, or do not meet.

    """
    shapes = f"student {list(student.shape)}, teacher {list(teacher.shape)}"
    if student.ndim != 4 or teacher.ndim != 4 or 0 in (*student.shape, *teacher.shape):
        raise InputError(f"transfer_loss expects two non-empty [B, C, H, W] maps; got {shapes}")
    if student.shape[0] != teacher.shape[0]:
        raise InputError(f"transfer_loss expects maps of the same images; got {shapes}")
    if same_channels and student.shape[1] != teacher.shape[1]:
        raise InputError(f"transfer_loss expects equal channels (or a projection); got {shapes}")
    if student.dtype in (torch.float16, torch.bfloat16):
        student = student.float()
    student, teacher = bounded(student), bounded(teacher.to(student.dtype))
    finer = max(student.shape[-2:], teacher.shape[-2:], key=torch.Size.numel)
    if student.shape[-2:] != finer:
        student = F.interpolate(student, finer, mode="bilinear", align_corners=False)
    if teacher.shape[-2:] != finer:
        teacher = F.interpolate(teacher, finer, mode="bilinear", align_corners=False)
    return student, teacher


def bounded(maps: Tensor) -> Tensor:
    """Scale each image's map [B, ...] down to `BOUND` if a number in it is beyond.

    Maps that are within are multiplied by 1. A map that is not finite stays so.
    """
    largest = maps.detach().flatten(1).abs().amax(1)
    scale = torch.clamp(BOUND / largest, max=1.0)
    return maps * scale.view(-1, *[1] * (maps.ndim - 1))


def directed(vectors: Tensor) -> Tensor:
    """Set vectors [..., L] without a direction to 0, so that they get no gradient."""
    lengths = torch.linalg.vector_norm(vectors.detach(), dim=-1, keepdim=True)
    return vectors.masked_fill(lengths <= SHORTEST, 0.0)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return vectors [..., L] of length 1; those without a direction become 0."""
    return F.normalize(directed(vectors), dim=-1)


def _vectors(maps: Tensor, level: str) -> Tensor:
    """Turn [B, C, H, W] into [number of vectors, length of a vector]."""
    batch, channels, height, width = maps.shape
    if level == "global":
        return maps.reshape(batch, -1)
    if level == "channel":
        return maps.reshape(batch * channels, height * width)
    return maps.permute(0, 2, 3, 1).reshape(batch * height * width, channels)


def vector_norms(difference: Tensor) -> Tensor:
    """Return each row's Euclidean norm, its gradient 0 (not NaN) where the difference is 0."""
    squared = difference.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, torch.zeros_like(squared), squared.masked_fill(zero, 1.0).sqrt())


def _all_pairs_channel_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = unit_vectors(student.flatten(2)), unit_vectors(teacher.flatten(2))
    # The mean over all pairs of dot products is the dot product of the mean unit vectors:
    # L*(Cs+Ct) products instead of L*Cs*Ct.
    return 1 - (student.mean(1) * teacher.mean(1)).sum(-1).mean()


def _bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    if not temperature > 0:
        raise InputError(f"temperature is {temperature!r}; expected a number above 0")
    own, target = student / temperature, teacher / temperature
    probability = target.sigmoid()
    # The sum over both outcomes of q (log q - log p); logsigmoid does not overflow.
    there = probability * (F.logsigmoid(target) - F.logsigmoid(own))
    absent = (1 - probability) * (F.logsigmoid(-target) - F.logsigmoid(-own))
    return temperature**2 * (there + absent).mean()


def _plugin_loss(metric: str, student: Tensor, teacher: Tensor, level: str) -> Tensor:
    loss = load_plugin("metric", metric)(student, teacher, level=level)
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f"metric {metric!r}: expected a scalar tensor, got {got}")
    return loss
