"""Class-weight CAMs of networks that this package did not build.

The CAM of Zhou et al. (CVPR 2016, eq. 2) is defined where the logits are a linear layer of the
mean of a map over its locations, or that mean itself. Whether a network ends so is measured by one
image: some module's map has as its mean the very input of the last linear layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsss_core.backbones import CamPoint, candidates, tensors_in
from wsss_core.cams.target_layers import Call, logits_of, recorded
from wsss_core.errors import InputError


@dataclass(frozen=True)
class LinearHead:
    """The end of a network: a map, its mean over locations, one linear layer.

    Attributes:
        point: where the map is.
        weight: float [K, C] of the linear layer; None where the map's channels are the classes.

    """

    point: CamPoint
    weight: Tensor | None

    def maps(self, found: Tensor, classes: Tensor) -> Tensor:
        """Return the raw maps of some classes, float32 [B, K', h, w].

        Args:
            found: float [B, C, h, w], the map at the point.
            classes: int64 [B, K'], for each image.

        """
        if self.weight is None:
            each = torch.arange(len(found), device=found.device)[:, None]
            return found[each, classes].float()
        return torch.einsum("bchw,bkc->bkhw", found.float(), self.weight.float()[classes])


def find_linear_head(model: nn.Module, image: Tensor) -> LinearHead:
    """Find out how a network ends.

    Args:
        model: a classifier in evaluation mode.
        image: float [1, 3, H, W], as the model takes it.

    Raises:
        InputError: it does not end in a mean over locations and one linear layer.

    """
    modules = {name: module for name, module in model.named_modules() if name}
    with torch.no_grad(), recorded(modules) as calls:
        logits = logits_of(model(image))
    last = _last_linear(calls, logits)
    pooled, weight = (logits, None) if last is None else last
    size = (int(image.shape[-2]), int(image.shape[-1]))
    for call in reversed(calls):
        point = _point_of_mean(call, pooled, size)
        if point is not None:
            return LinearHead(point, weight)
    raise InputError(
        f"method class_weight: expected a network that ends in a mean over locations and one "
        f"linear layer, which {type(model).__name__} does not for an image of {size[1]} x "
        f"{size[0]} px; grad_cam and layer_cam work for any network"
    )


def _last_linear(calls: list[Call], logits: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return input and weight of the linear layer that gives the logits; None if none does."""
    for call in reversed(calls):
        if isinstance(call.module, nn.Linear) and isinstance(call.output, Tensor):
            if call.output.shape == logits.shape and torch.equal(call.output, logits):
                return call.inputs[0], call.module.weight.detach()
            return None
    return None


def _point_of_mean(call: Call, pooled: Tensor, size: tuple[int, int]) -> CamPoint | None:
    """Return a module's map if its mean over locations is `pooled`, float [1, C]."""
    channels = pooled.shape[1]
    for element, tensor in tensors_in(call.output):
        if not tensor.is_floating_point() or tensor.ndim < 3 or len(tensor) != 1:
            continue
        for grid in _grids(tensor, channels, size):
            for layout in candidates(tensor, channels, grid):
                found = layout.as_map(tensor, *size)
                if _alike(found.mean((-2, -1)), pooled):
                    held = type(layout)(layout.axes, layout.prefix, element)
                    return CamPoint(call.module, call.number, held)
    return None


def _grids(tensor: Tensor, channels: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the grids that a tensor may hold; one of a single location is none."""
    shape = tuple(tensor.shape[1:])
    if len(shape) == 3:
        found = [(shape[1], shape[2]), (shape[0], shape[1])]
    else:
        tokens = shape[0] if shape[1] == channels else shape[1]
        found = []
        for count in range(tokens, max(1, tokens - 17), -1):
            rows = max(1, round((count * size[0] / size[1]) ** 0.5))
            if count % rows == 0:
                found.append((rows, count // rows))
    return [grid for grid in found if grid[0] * grid[1] > 1]


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * float(other.abs().max())
    return float((one - other).abs().max()) <= tolerance
