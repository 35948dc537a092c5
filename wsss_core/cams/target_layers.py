"""The layer of any network at which a CAM looks, and how its output holds a map.

A network without names that this package knows is run once on one image, with a hook on each
module. The output's shape tells its layout: a map has cells of the image's proportions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones import CamPoint, Encoder, MapLayout, Network, PatchTokens, tensors_in
from wsss_core.backbones.names import PLAIN_VITS
from wsss_core.errors import InputError, nearest, quoted

_MOST_PREFIX_TOKENS = 16
"""A class token, a distillation token and registers come before the patches of a ViT."""

_PASSING_ON = (nn.Identity, nn.modules.dropout._DropoutNd, nn.Softmax)
"""Modules that pass a map of another module on, or weights of attention, which are no map."""


@dataclass(frozen=True)
class Call:
    """One call of a module within a forward pass.

    Attributes:
        name: of the module, dotted.
        module: it.
        number: of the call among the module's own, from 0.
        inputs: its positional arguments.
        output: what it gave; a later module may have worked on it in place.

    """

    name: str
    module: nn.Module
    number: int
    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def recorded(modules: Mapping[str, nn.Module]) -> Iterator[list[Call]]:
    """Yield the calls of some modules that happen meanwhile, in the order in which they end."""
    calls: list[Call] = []
    counts: Counter[str] = Counter()

    def watch(name: str) -> Callable[..., None]:
        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            calls.append(Call(name, module, counts[name], inputs, output))
            counts[name] += 1

        return see

    handles = [module.register_forward_hook(watch(name)) for name, module in modules.items()]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield calls
    finally:
        for handle in handles:
            handle.remove()


def logits_of(output: Any) -> Tensor:
    """Return the logits [B, K] of a classifier's output: a tensor, or its `logits`.

    Raises:
        InputError: the output is something else, such as the maps of a segmentation network.

    """
    if isinstance(output, Mapping) and "logits" in output:
        found = output["logits"]
    else:
        found = getattr(output, "logits", output)
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        got = f"{list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"model: expected a classifier that gives logits, a float tensor [B, K], got {got}; "
            "wrap another network in a module that returns one score for each class"
        )
    return found


def find_point(model: nn.Module, target: nn.Module | str | None, image: Tensor) -> CamPoint:
    """Return where a CAM takes its gradients.

    Args:
        model: a classifier in evaluation mode, whose parameters ask for no gradient.
        target: one of its modules, or its dotted name. None: the last block's norm1 of a plain
            ViT, the final map of a `Network`, else the last module that gives a map on which the
            logits depend; among tokens, the last normalisation that does.
        image: float [1, 3, H, W], as the model takes it.

    Returns:
        The module and the layout of its map. Where a module is called several times, the last call
        that gives a map counts.

    Raises:
        InputError: no such module, it is not called, or what it gives is no map.

    """
    if target is None:
        return _known(model, image) or _last_map(model, image)
    name, module = _named(model, target)
    with recorded({name: module}) as calls, torch.no_grad():
        model(image)
    if not calls:
        raise InputError(f"target_layer {name!r}: expected a module that the network calls")
    size = (int(image.shape[-2]), int(image.shape[-1]))
    for call in reversed(calls):
        for layout, _ in _maps_in(call.output, size, _prefix(model), strictly=False):
            return CamPoint(module, call.number, layout)
    shapes = [list(tensor.shape) for _, tensor in tensors_in(calls[-1].output)]
    raise InputError(
        f"target_layer {name!r}: expected a map [B, C, h, w] or [B, h, w, C], or tokens [B, L, C] "
        f"of a grid, got {', '.join(map(str, shapes)) or type(calls[-1].output).__name__}"
    )


def _named(model: nn.Module, target: nn.Module | str) -> tuple[str, nn.Module]:
    """Return a module of the network with its dotted name."""
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(target, nn.Module):
        for name, module in modules.items():
            if module is target:
                return name, module
        raise InputError(
            f"target_layer: expected a module of the network itself, got a {type(target).__name__} "
            "that is none of its submodules"
        )
    if not isinstance(target, str):
        raise InputError(
            f"target_layer: expected a module, its dotted name or None, got {type(target).__name__}"
        )
    aliases = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    if target not in aliases:
        near = nearest(target, modules)
        raise InputError(
            f"target_layer {quoted(target)}: expected the dotted name of a submodule"
            + (f"; the nearest is {near!r}" if near else f", such as {', '.join([*modules][-3:])}")
        )
    return target, aliases[target]


def _known(model: nn.Module, image: Tensor) -> CamPoint | None:
    """Return the point of a network of this package or of a plain ViT of timm; None of others."""
    encoder: Any = getattr(model, "encoder", None)
    if isinstance(model, Network) and isinstance(encoder, Encoder):
        return encoder.points([-1], image)[0]
    if is_plain_vit(model):
        return PatchTokens(model).points([-1], image)[0]
    return None


def is_plain_vit(model: nn.Module) -> bool:
    """Return whether a model is one of timm's `PLAIN_VITS`."""
    package, _, module = type(model).__module__.rpartition(".")
    return package == "timm.models" and module in PLAIN_VITS and hasattr(model, "blocks")


def _prefix(model: nn.Module) -> int | None:
    """Return how many tokens come before a timm transformer's patches; None if it does not say."""
    count = getattr(model, "num_prefix_tokens", None)
    return count if isinstance(count, int) else None


def _last_map(model: nn.Module, image: Tensor) -> CamPoint:
    """Return the last module that gives a map on which the logits depend."""
    size = (int(image.shape[-2]), int(image.shape[-1]))
    modules = {name: module for name, module in model.named_modules() if name}
    with torch.inference_mode(False), torch.enable_grad():
        leaf = image.detach().clone().requires_grad_()
        with recorded(modules) as calls:
            # A copy, because the network may work on its input in place.
            logits = logits_of(model(leaf.clone()))
        found = [
            (call, layout, tensor)
            for call in calls
            if not isinstance(call.module, _PASSING_ON)
            for layout, tensor in _maps_in(call.output, size, _prefix(model), strictly=True)
            if layout.axes != "NLC" or _normalises(call.module)
        ]
        found = [entry for entry in found if entry[2].requires_grad]
        if found and logits.requires_grad:
            tensors = [tensor for _, _, tensor in found]
            gradients = torch.autograd.grad(logits.max(), tensors, allow_unused=True)
            for (call, layout, _), gradient in reversed([*zip(found, gradients, strict=True)]):
                # Behind its last attention a ViT's logits depend on its class token alone.
                if gradient is not None and bool(layout.as_map(gradient, *size).any()):
                    return CamPoint(call.module, call.number, layout)
    raise InputError(
        f"target_layer None: {type(model).__name__} has no module that gives a map on which its "
        f"logits depend, for an image of {size[1]} x {size[0]} px; expected target_layer to name "
        "the module to look at"
    )


def _normalises(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _maps_in(
    output: Any, size: tuple[int, int], prefix: int | None, *, strictly: bool
) -> Iterator[tuple[MapLayout, Tensor]]:
    """Yield the tensors of an output that hold a map, each with its layout.

    Args:
        output: a tensor, or lists and tuples of tensors.
        size: (H, W) of the image.
        prefix: tokens before the first patch; None: as few as leave a grid.
        strictly: leave out [B, C, h, w] whose cells have other proportions than the image.

    """
    for element, tensor in tensors_in(output):
        shape = tuple(tensor.shape[1:])
        if not tensor.is_floating_point():
            continue
        if len(shape) == 3:
            if _is_grid(shape[1], shape[2], size):
                yield MapLayout("NCHW", 0, element), tensor
            elif _is_grid(shape[0], shape[1], size):
                yield MapLayout("NHWC", 0, element), tensor
            elif not strictly and shape[1] * shape[2] > 1:
                yield MapLayout("NCHW", 0, element), tensor
        elif len(shape) == 2:
            for before in range(_MOST_PREFIX_TOKENS + 1) if prefix is None else [prefix]:
                if _are_patches(shape[0] - before, size):
                    yield MapLayout("NLC", before, element), tensor
                    break


def _are_patches(count: int, size: tuple[int, int]) -> bool:
    """Return whether so many tokens form a grid of the image's proportions."""
    if count < 2:
        return False
    rows = max(1, round((count * size[0] / size[1]) ** 0.5))
    return count % rows == 0 and _is_grid(rows, count // rows, size)


def _is_grid(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Return whether cells of one side can make so many rows and columns of an image.

    A cell at a border may be left out or lie half beyond it.
    """
    if rows * columns < 2 or rows > size[0] or columns > size[1]:
        return False
    if size[0] == size[1]:
        return rows == columns
    smallest = max(size[0] / (rows + 1), size[1] / (columns + 1))
    largest = min(size[0] / max(rows - 1, 0.5), size[1] / max(columns - 1, 0.5))
    return smallest < largest
