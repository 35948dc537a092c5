"""Labels that a decoder doubts more than others, by a mixture of two Gaussians of its losses.

Wu et al., "DuPL: Dual Student with Trustworthy Progressive Learning for Robust Weakly Supervised
Semantic Segmentation", CVPR 2024, section 3.3, with the numbers of the authors' code: of each image
the losses of class pixels above 0.1 are looked at, where there are more than 1,000. If the means of
the two Gaussians are more than 1 apart, pixels that belong to the higher one with a probability
above 0.95 lose their label.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.data import IGNORED

LEAST_LOSS, APART, SURE = 0.1, 1.0, 0.95
_ROUNDS, _LEAST_VARIANCE = 10, 5e-4


class TwoGaussians(NamedTuple):
    """A mixture of two Gaussians, the lower first; float64 [2] each."""

    means: Tensor
    variances: Tensor
    shares: Tensor

    def of_higher(self, values: Tensor) -> Tensor:
        """Return the probability that each value is of the higher Gaussian, float64 [N]."""
        return _responsibilities(values, self)[:, 1]


def fit_two_gaussians(values: Tensor) -> TwoGaussians:
    """Fit a mixture by expectation and maximisation, from the two means of 2-means clustering.

    Args:
        values: float [N], two different ones at least.

    """
    values = values.double()
    means = torch.stack([values.min(), values.max()])
    for _ in range(_ROUNDS):
        upper = (values - means[0]).abs() > (values - means[1]).abs()
        means = torch.stack([values[~upper].mean(), values[upper].mean()])
    upper = (values - means[0]).abs() > (values - means[1]).abs()
    belongs = torch.stack([(~upper).double(), upper.double()], 1)
    mixture = _from_responsibilities(values, belongs)
    for _ in range(_ROUNDS):
        mixture = _from_responsibilities(values, _responsibilities(values, mixture))
    order = mixture.means.argsort()
    return TwoGaussians(*(part[order] for part in mixture))


def _responsibilities(values: Tensor, mixture: TwoGaussians) -> Tensor:
    away = (values.double()[:, None] - mixture.means) ** 2 / mixture.variances
    return (mixture.shares.log() - (mixture.variances.log() + away) / 2).softmax(1)


def _from_responsibilities(values: Tensor, belongs: Tensor) -> TwoGaussians:
    counts = belongs.sum(0) + 10 * torch.finfo(torch.float64).eps
    means = (belongs * values[:, None]).sum(0) / counts
    spread = (belongs * (values[:, None] - means) ** 2).sum(0) / counts
    return TwoGaussians(means, spread + _LEAST_VARIANCE, counts / counts.sum())


@torch.no_grad()
def without_doubted(logits: Tensor, labels: Tensor, least_pixels: int) -> Tensor:
    """Return labels without those of class pixels whose loss is of the higher Gaussian.

    Args:
        logits: float [B, K + 1, H, W], of the decoder that is to learn.
        labels: int64 [B, H, W].
        least_pixels: so many losses have to be looked at for an image to be filtered, plus one.

    """
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
    kept = labels.clone()
    for image, of_image in enumerate(losses):
        looked_at = (labels[image] != 0) & (labels[image] != IGNORED) & (of_image > LEAST_LOSS)
        values = of_image[looked_at]
        if len(values) <= least_pixels or bool(values.min() == values.max()):
            continue
        mixture = fit_two_gaussians(values)
        if float(mixture.means[1] - mixture.means[0]) > APART:
            found = values.new_full(values.shape, IGNORED, dtype=torch.long)
            kept[image][looked_at] = torch.where(
                mixture.of_higher(values) > SURE, found, labels[image][looked_at]
            )
    return kept
