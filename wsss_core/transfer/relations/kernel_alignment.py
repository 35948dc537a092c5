"""Centred kernel alignment (CKA) with the linear kernel, of one batch and over many.

Kornblith et al., "Similarity of Neural Network Representations Revisited", arXiv 1905.00414, eq. 3
to 5. Over batches: Nguyen, Raghu and Kornblith, "Do Wide and Deep Networks Learn the Same
Things?", arXiv 2010.15327, eq. 2 and 3, with the unbiased HSIC of Song et al., "Feature Selection
via Dependence Maximization", JMLR 13, 2012.
"""

from typing import Self

import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.transfer.losses import unit_vectors
from wsss_core.transfer.relations.batches import (
    NEGLIGIBLE,
    image_rows,
    jointly_scaled,
    no_loss,
)


def linear_cka(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 - CKA of a batch: how differently its images lie to each other.

    `CKA = <K, L> / (|K| |L|)`, with K and L the inner products of the images' maps, from each of
    which the mean over the images is subtracted. It is biased towards CKA 1 where a batch has
    fewer images than a map has numbers; see `MinibatchCKA` for measuring.

    Args:
        student: float [B, ...].
        teacher: float [B, ...]; lengths need not meet.

    Returns:
        A scalar in [0, 1] up to rounding. It does not change with one scale, shift or rotation of
        all of a network's maps. A single image costs 0; two always have CKA 1. Where all images of
        a network have the same map, it is 1 and moves nothing.

    Raises:
        InputError: not the same images.

    """
    student, teacher = image_rows(student, teacher)
    if len(student) == 1:
        return no_loss(student, teacher)
    return 1 - (_centred_products(student) * _centred_products(teacher)).sum()


def _centred_products(rows: Tensor) -> Tensor:
    """Return centred inner products as one vector of length 1, [B * B]."""
    rows = jointly_scaled(rows)
    centred = rows - rows.mean(0)
    small = centred.detach().abs().amax() <= NEGLIGIBLE
    centred = jointly_scaled(centred.masked_fill(small, 0.0))
    return unit_vectors((centred @ centred.T).flatten())


class MinibatchCKA:
    """CKA over many batches, by unbiased estimates that are summed before they are divided.

    It is a measure. Its value does not depend on the size of the batches, up to noise, and may lie
    a little outside 0 to 1.

    Example:
        >>> maps = torch.arange(5.0)[:, None]
        >>> f"{MinibatchCKA().add(maps, 3 * maps).add(2 * maps, 6 * maps).value():.6f}"
        '1.000000'

    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, student: Tensor, teacher: Tensor) -> Self:
        """Add a batch, float [B, ...] of each network, and return the measure.

        Raises:
            InputError: not the same images, or fewer than 4, which the estimate needs.

        """
        student, teacher = image_rows(student, teacher)
        if len(student) < 4:
            raise InputError(f"CKA over batches needs 4 images in each; got {len(student)}")
        own, aim = (rows @ rows.T for rows in (student.double(), teacher.double()))
        pairs = ((own, aim), (own, own), (aim, aim))
        found = torch.stack([_unbiased_hsic(*pair) for pair in pairs])
        self._sums = found if self._sums is None else self._sums + found
        return self

    def value(self) -> float:
        """Return CKA of all batches; NaN before the first, and where a network's do not vary."""
        if self._sums is None:
            return float("nan")
        both, own, aim = self._sums.tolist()
        return both / (own * aim) ** 0.5 if own > 0 and aim > 0 else float("nan")


def _unbiased_hsic(one: Tensor, other: Tensor) -> Tensor:
    """Return HSIC_1 of two kernel matrices [n, n]."""
    count = len(one)
    one, other = (kernel - torch.diag(kernel.diagonal()) for kernel in (one, other))
    sums = one.sum() * other.sum() / ((count - 1) * (count - 2))
    rows = 2 / (count - 2) * (one.sum(0) * other.sum(0)).sum()
    return ((one * other).sum() + sums - rows) / (count * (count - 3))
