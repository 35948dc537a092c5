"""Where the map lies in what a module gives: which element, which axes, how many prefix tokens.

timm's networks give maps as [B, C, h, w], as [B, h, w, C], as tokens [B, L, C] behind class,
distillation or register tokens, as [B, C, L], and several of them in a list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wsss_core.errors import InputError

Axes = Literal["NCHW", "NHWC", "NLC", "NCL"]


@dataclass(frozen=True)
class MapLayout:
    """How to read a map out of an output.

    Attributes:
        axes: the axes of the tensor; L are the locations, row by row.
        prefix: tokens before the first location.
        order: the token of each location, where tokens do not go row by row (Hiera's inner blocks);
            of one grid.
        element: the steps into nested lists and tuples that lead to the tensor.

    """

    axes: Axes = "NCHW"
    prefix: int = 0
    element: tuple[int, ...] = ()
    order: tuple[int, ...] = ()

    def pick(self, output: Any) -> Tensor:
        """Return the tensor of an output that holds the map."""
        for step in self.element:
            output = output[step]
        tensor: Tensor = output
        return tensor

    def replaced(self, output: Any, tensor: Tensor) -> Any:
        """Return an output of the same nesting with another tensor in the map's place."""
        return _replaced(output, self.element, tensor)

    def as_map(self, tensor: Tensor, height: int, width: int) -> Tensor:
        """Return the tensor, or its gradient, as a map [B, C, h, w].

        Args:
            tensor: what `pick` gave.
            height: of the image in pixels, which tells tall grids of tokens from wide ones.
            width: of the image in pixels.

        """
        if self.axes == "NCHW":
            return tensor
        if self.axes == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        flat = tensor.transpose(1, 2) if self.axes == "NLC" else tensor
        flat = flat[..., self.prefix :]
        if self.order:
            flat = flat[..., list(self.order)]
        rows = round((flat.shape[-1] * height / width) ** 0.5)
        if rows < 1 or flat.shape[-1] % rows:
            raise InputError(
                f"{flat.shape[-1]} tokens of an image of {width} x {height} px form no grid"
            )
        return flat.unflatten(-1, (rows, -1))


def _replaced(output: Any, element: tuple[int, ...], tensor: Tensor) -> Any:
    if not element:
        return tensor
    items = list(output)
    items[element[0]] = _replaced(items[element[0]], element[1:], tensor)
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*items)
    return type(output)(items)


def tensors_in(output: Any, depth: int = 2) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield the tensors of an output, each with the steps that lead to it."""
    if isinstance(output, Tensor):
        yield (), output
    elif isinstance(output, list | tuple) and depth:
        for position, inner in enumerate(output):
            for steps, tensor in tensors_in(inner, depth - 1):
                yield (position, *steps), tensor


def candidates(tensor: Tensor, channels: int, grid: tuple[int, int]) -> Iterator[MapLayout]:
    """Yield every layout by which a tensor can hold a map of these channels and this grid."""
    shape, places = tuple(tensor.shape[1:]), grid[0] * grid[1]
    if shape == (channels, *grid):
        yield MapLayout("NCHW")
    if shape == (*grid, channels):
        yield MapLayout("NHWC")
    if len(shape) == 2:
        if shape[1] == channels and shape[0] >= places:
            yield MapLayout("NLC", shape[0] - places)
        if shape == (channels, places):
            yield MapLayout("NCL")


def by_value(output: Any, wanted: Tensor, *, exactly: bool) -> MapLayout | None:
    """Return the layout by which an output holds this very map; None if it does not.

    Args:
        output: a tensor, or lists and tuples of tensors.
        wanted: float [B, C, h, w].
        exactly: to the bit; else within a ten-thousandth of the map's largest value.

    """
    batch, channels, height, width = wanted.shape
    for element, tensor in tensors_in(output):
        if tensor.ndim < 3 or len(tensor) != batch or not tensor.is_floating_point():
            continue
        for layout in candidates(tensor, channels, (height, width)):
            found = layout.as_map(tensor, height, width)
            if found.shape == wanted.shape and _same(found, wanted, exactly=exactly):
                return MapLayout(layout.axes, layout.prefix, element)
            if layout.axes == "NLC" and not layout.prefix and exactly:
                order = _order(tensor, wanted)
                if order is not None:
                    return MapLayout("NLC", 0, element, order)
    return None


def _order(tokens: Tensor, wanted: Tensor) -> tuple[int, ...] | None:
    """Return which token [B, L, C] is which location of a map [B, C, h, w]; None if not all are."""
    places = wanted.flatten(2).transpose(1, 2)
    sums, others = tokens[0].sum(-1).sort(), places[0].sum(-1).sort()
    order = torch.empty_like(sums.indices)
    order[others.indices] = sums.indices
    if not torch.equal(tokens[:, order], places):
        return None
    return tuple(order.tolist())


def _same(one: Tensor, other: Tensor, *, exactly: bool) -> bool:
    if exactly:
        return torch.equal(one, other)
    largest = float(other.abs().max())
    return bool(largest < float("inf")) and float((one - other).abs().max()) <= 1e-4 * largest
