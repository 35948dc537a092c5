"""Similarity-preserving knowledge distillation (SPKD).

Tung and Mori, "Similarity-Preserving Knowledge Distillation", arXiv 1907.09682, eq. 1 to 4.
"""

from torch import Tensor

from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import (
    image_rows,
    jointly_scaled,
    no_loss,
)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Return SPKD: how differently two networks find the images of a batch similar.

    `1/B^2 |G_s - G_t|_F^2` with G = Q Q^T, each row divided by its length, and Q [B, L] the maps,
    a row for each image. Channels and grids need not meet.

    Args:
        student: float [B, ...].
        teacher: float [B, ...].

    Returns:
        A scalar in [0, 4/B]. It does not change with one scale for the maps of all images of a
        network, or with an orthogonal mixing of their numbers. A single image costs 0.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) == 1:
        return no_loss(student, teacher)
    return (_similarities(student) - _similarities(teacher)).square().mean()


def _similarities(rows: Tensor) -> Tensor:
    rows = jointly_scaled(rows)
    return unit_vectors(rows @ rows.T)
