"""Relational knowledge distillation (RKD).

Park et al., "Relational Knowledge Distillation", arXiv 1904.05068: distance-wise, eq. 5 to 8, and
angle-wise, eq. 9 and 10.
"""

import torch.nn.functional as F
from torch import Tensor

from wsss_core.transfer.losses import vector_norms
from wsss_core.transfer.relations.batches import (
    NEGLIGIBLE,
    image_rows,
    jointly_scaled,
    no_loss,
    other_than_itself,
)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return RKD-D: how differently two networks space the images of a batch.

    The mean, over pairs of different images, of the Huber loss (delta 1) between
    `|x_i - x_j| / mu` of the student and of the teacher; mu is the mean distance of the pairs.

    Args:
        student: float [B, ...]; in the paper an embedding for each image.
        teacher: float [B, ...]; lengths need not meet.

    Returns:
        A scalar, 0 or more. It does not change with one scale, shift or rotation of all of a
        network's embeddings. Fewer than 3 images cost 0: two have one distance, which is its mean.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) < 3:
        return no_loss(student, teacher)
    return F.smooth_l1_loss(_spacing(student), _spacing(teacher))


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Return RKD-A: how different the angles are that triplets of images form.

    The mean, over ordered triplets of different images, of the Huber loss (delta 1) between the
    cosines of the angles at `x_j` between `x_i` and `x_k`.

    Args:
        student: float [B, ...]; memory grows with B^2 times the length, and with B^3.
        teacher: float [B, ...]; lengths need not meet.

    Returns:
        A scalar, 0 to 1.5. It does not change with one scale, shift or rotation of all of a
        network's embeddings. Fewer than 3 images cost 0.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) < 3:
        return no_loss(student, teacher)
    other = other_than_itself(len(student), student.device)
    different = other[:, :, None] & other[:, None, :] & other[None, :, :]
    return F.smooth_l1_loss(_angles(student)[different], _angles(teacher)[different])


def _differences(rows: Tensor) -> Tensor:
    """Return x_j - x_i at [i, j], of rows scaled together; those that may be rounding are 0."""
    rows = jointly_scaled(rows)
    differences = rows[None] - rows[:, None]
    small = differences.detach().abs().amax(-1, keepdim=True) <= NEGLIGIBLE
    return differences.masked_fill(small, 0.0)


def _spacing(rows: Tensor) -> Tensor:
    """Return distances of pairs over their mean, [B * (B - 1)]; all 0 where images are alike."""
    distances = vector_norms(_differences(rows))[other_than_itself(len(rows), rows.device)]
    mean = distances.mean()
    return distances / mean.masked_fill(mean.detach() == 0, 1.0)


def _angles(rows: Tensor) -> Tensor:
    """Return the cosine of the angle at image j between i and k at [j, i, k]."""
    directions = F.normalize(_differences(rows), dim=-1)
    return directions @ directions.transpose(1, 2)
