"""Variational information distillation (VID).

Ahn et al., "Variational Information Distillation for Knowledge Transfer", arXiv 1904.05835, eq. 5
and 6.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.transfer.losses import on_one_grid

_LEAST_VARIANCE = 1e-5
"""Epsilon of eq. 6, as in the code published with the paper."""


class VariationalInformation(nn.Module):
    """VID: how improbable the teacher's map is under a Gaussian around the student's.

    `mean [log sigma_c^2 + (t - m)^2 / sigma_c^2] / 2` over images, channels and locations, with m
    the student's projected map (the regressor of the paper), t the teacher's, and the variance
    sigma_c^2 = log(1 + exp(alpha_c)) + 1e-5 of each channel learned with the student. The constant
    log(2 pi) / 2 is left out, so the loss may be below 0.

    Args:
        channels: C of the maps.
        variance: of every channel at the start; 5 as in the code published with the paper.

    """

    def __init__(self, channels: int, variance: float = 5.0) -> None:
        super().__init__()
        alpha = math.log(math.expm1(variance - _LEAST_VARIANCE))
        self.alpha = nn.Parameter(torch.full((channels,), alpha))

    def variance(self) -> Tensor:
        """Return sigma_c^2, [C]."""
        return F.softplus(self.alpha) + _LEAST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the scalar loss of maps [B, C, H, W]; the coarser is resized to the finer grid.

        Raises:
            InputError: maps that do not meet.

        """
        student, teacher = on_one_grid(student, teacher, same_channels=True)
        variance = self.variance().to(student.dtype)
        squared = (teacher - student).square().mean((0, 2, 3))
        return (variance.log() + squared / variance).mean() / 2
