"""Correlation congruence (CC).

Peng et al., "Correlation Congruence for Knowledge Distillation", arXiv 1904.01802: the loss of
section 3.2 with the Gaussian kernel of section 3.3 by its Taylor series.
"""

import math

from torch import Tensor

from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import image_rows, no_loss


def correlation_congruence(
    student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: int = 2
) -> Tensor:
    """Return CC: how differently two networks correlate the images of a batch.

    `1/B^2 |K_s - K_t|_F^2`, where K holds the Gaussian kernel `exp(-gamma |x - y|^2)` of
    embeddings of length 1, as its Taylor series in x . y up to an order P:
    `exp(-2 gamma) sum_(p=0..P) (2 gamma)^p / p! (x . y)^p`.

    Args:
        student: float [B, ...]; in the paper an embedding for each image.
        teacher: float [B, ...]; lengths need not meet.
        gamma: of the kernel, above 0; the paper's is 0.4.
        order: P, 1 or more; the paper's is 2.

    Returns:
        A scalar in [0, 1]. It does not change with the scale of an image's embedding, or with a
        rotation of all. A single image costs 0.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) == 1:
        return no_loss(student, teacher)
    return (_kernel(student, gamma, order) - _kernel(teacher, gamma, order)).square().mean()


def _kernel(rows: Tensor, gamma: float, order: int) -> Tensor:
    directions = unit_vectors(rows)
    cosines = directions @ directions.T
    kernel = cosines * 0
    for power in range(order, -1, -1):  # Horner's scheme
        kernel = kernel * cosines + (2 * gamma) ** power / math.factorial(power)
    return math.exp(-2 * gamma) * kernel
