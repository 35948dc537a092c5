"""Attention transfer (AT).

Zagoruyko and Komodakis, "Paying More Attention to Attention: Improving the Performance of
Convolutional Neural Networks via Attention Transfer", arXiv 1612.03928, eq. 1 and 2.
"""

from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.transfer.losses import on_one_grid, unit_vectors
from wsss_core.transfer.relations.batches import scaled_each


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Return AT: how differently two maps spread their energy over the locations of an image.

    `mean_b 1/2 |q_s - q_t|^2` with `q = a / |a|` and the attention `a = sum_c F_c^2` at each place
    (F_sum^2 of the paper). It is squared as in the code published with the paper, where eq. 2
    writes the norm itself, and summed over locations, so that it does not shrink with the grid.

    Args:
        student: float [B, C, H, W].
        teacher: float [B, C', H', W']; the coarser grid is resized to the finer one.

    Returns:
        A scalar in [0, 1] up to rounding: 1 minus the cosine of the attentions. It does not change
        with the scale of an image's map, or with an orthogonal mixing of its channels. It costs
        1/2 where the map of one side is all zero.

    Raises:
        InputError: maps that do not meet, or of one location, whose attention is always 1.

    """
    student, teacher = on_one_grid(student, teacher, same_channels=False)
    if student.shape[-2:].numel() == 1:
        raise InputError("attention transfer compares locations; maps of a single one have none")
    difference = _attention(student) - _attention(teacher)
    return difference.square().sum(-1).mean() / 2


def _attention(maps: Tensor) -> Tensor:
    """Return attention of length 1, [B, H*W]."""
    scaled = scaled_each(maps.flatten(1)).view_as(maps)
    return unit_vectors(scaled.square().sum(1).flatten(1))
