"""How maps lose their scale, as torch functions, and which classes lose their maps.

The same choices as `wsss_core.evaluate.normalise`, for maps that are still on the device.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.errors import InputError

MapNormalisation = Literal["raw", "max", "min_max"]


def normalise_maps(maps: Tensor, how: MapNormalisation) -> Tensor:
    """Bring each map to [0, 1], on its own. A map with a value that is not finite gets NaN.

    - `raw`: as it is.
    - `max`: max(x, 0) / max(x), the choice of PSA (Ahn and Kwak, 2018, arXiv 1803.10464). A map
      without a positive score becomes 0.
    - `min_max`: (x - min) / (max - min), the thesis's choice (arXiv 2507.21959). A constant map
      becomes 0.

    Args:
        maps: float [..., h, w].
        how: the name of the choice.

    Returns:
        float [..., h, w], of the same dtype.

    Raises:
        InputError: for another name.

    """
    if how == "raw":
        return maps
    if how == "max":
        shifted = F.relu(maps)
    elif how == "min_max":
        shifted = maps - maps.amin((-2, -1), keepdim=True)
    else:
        raise InputError(
            f"normalisation {how!r}: expected one of {', '.join(get_args(MapNormalisation))}"
        )
    span = shifted.amax((-2, -1), keepdim=True)
    return torch.where(span == 0, torch.zeros_like(shifted), shifted / span)


def predicted_classes(logits: Tensor, probability: float = 0.5) -> Tensor:
    """Return the classes of at least this probability, which the network says are there.

    Args:
        logits: float [N, K].
        probability: 0 to 1, of each class on its own (sigmoid).

    Returns:
        bool [N, K].

    """
    return logits.sigmoid() >= probability


def gate(maps: Tensor, keep: Tensor) -> Tensor:
    """Set the maps of classes that are not kept to 0.

    A map that was normalised peaks at 1 whether its class is in the image or not. Which classes
    are, their labels say, or the network (`predicted_classes`).

    Args:
        maps: float [N, K, h, w].
        keep: bool [N, K], or image-level labels of 0 and 1.

    Raises:
        InputError: keep is not of the maps' N and K.

    """
    if keep.shape != maps.shape[:2]:
        raise InputError(
            f"keep: expected the shape {list(maps.shape[:2])} of the maps' images and classes, "
            f"got {list(keep.shape)}"
        )
    return torch.where(keep.to(maps.device, torch.bool)[..., None, None], maps, 0)
