"""Random changes of the training images, drawn from a generator of the epoch alone."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def draw_flips(random: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """Draw which of an epoch's images are mirrored, each with probability 1/2; bool [count]."""
    return random.random(count) < 0.5


def mirror(images: Tensor, chosen: NDArray[np.bool_]) -> Tensor:
    """Mirror the chosen ones of images float [B, 3, H, W] left to right."""
    flags = torch.from_numpy(chosen).to(images.device)
    return torch.where(flags.view(-1, 1, 1, 1), images.flip(-1), images)
