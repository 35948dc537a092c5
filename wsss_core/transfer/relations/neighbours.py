"""Probabilistic knowledge transfer (PKT).

Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", arXiv
1803.10837, eq. 3 to 7, with the cosine kernel.
"""

from torch import Tensor

from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import (
    image_rows,
    no_loss,
    other_than_itself,
)

_LEAST_KERNEL = 1e-7
"""The least value of the kernel, whose logarithm is taken."""


def probabilistic_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Return PKT: how different the images are that two networks find near each image.

    `mean_i sum_(j != i) p_j|i log(p_j|i / q_j|i)`, where the teacher's p and the student's q are
    the kernel values (1 + cos) / 2 of image i with each other one over their sum. Kernel values
    below 1e-7 count as 1e-7. The paper sums over i; a mean does not grow with the batch.

    Args:
        student: float [B, ...]; in the paper an embedding for each image.
        teacher: float [B, ...]; lengths need not meet.

    Returns:
        A scalar, 0 or more. It does not change with the scale of an image's embedding, or with a
        rotation of all. Fewer than 3 images cost 0, as each has at most one neighbour.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) < 3:
        return no_loss(student, teacher)
    own, aim = _neighbours(student), _neighbours(teacher)
    return (aim * (aim.log() - own.log())).sum() / len(student)


def _neighbours(rows: Tensor) -> Tensor:
    """Return the probability of each other image under each, [B, B - 1]; rows sum to 1."""
    count = len(rows)
    directions = unit_vectors(rows)
    kernel = ((directions @ directions.T + 1) / 2).clamp(min=_LEAST_KERNEL)
    kernel = kernel[other_than_itself(count, rows.device)].view(count, count - 1)
    return kernel / kernel.sum(1, keepdim=True)
