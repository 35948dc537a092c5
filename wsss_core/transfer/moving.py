"""The exponential moving average of a state of weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def move_average(average: Mapping[str, Tensor], now: Mapping[str, Tensor], share: float) -> None:
    """Move an average by a share of the way towards the weights of now, in place.

    Buffers with fractions (BatchNorm's statistics) move too, whole numbers are those of now.

    >>> average = {"weight": torch.tensor([0.0, 4.0]), "steps": torch.tensor(1)}
    >>> move_average(average, {"weight": torch.tensor([4.0, 0.0]), "steps": torch.tensor(2)}, 0.25)
    >>> average
    {'weight': tensor([1., 3.]), 'steps': tensor(2)}
    """
    for name, value in average.items():
        if value.is_floating_point():
            value.lerp_(now[name], share)
        else:
            value.copy_(now[name])
