"""From stored images to what a network takes."""

import numpy as np
import torch
from torch import Tensor


def to_input(images: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Turn images uint8 [B, H, W, 3] into float32 [B, 3, H, W] in 0..1 on the device.

    Bytes cross to the device, not floats: a quarter of the traffic. Channels stay last in memory,
    as they are stored; convolutions are faster that way.
    """
    batch = torch.from_numpy(np.array(images, copy=True)).to(device, non_blocking=True)
    return batch.permute(0, 3, 1, 2).float().div_(255)
