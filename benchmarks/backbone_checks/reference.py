"""timm's own whole model, as the oracle: its weights, its map, its Grad-CAM."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import timm
import torch
from torch import Tensor, nn

LATE = 2 / 3
"""Only modules that come after this part of the network are asked for their Grad-CAM."""

NEVER_CHANNELS_LAST = ("fastvit", "mobileone", "repvgg")
"""Families whose training in channels_last format ends the process (PyTorch 2.15, CPU)."""

MOST_PREFIX = 3
"""So many tokens or fewer are class tokens alone."""


def reference_models(
    name: str, size: int | None, options: Mapping[str, Any]
) -> Iterator[nn.Module]:
    """Timm's model, told the image size where it takes it, then as it is; None: as it is alone."""
    choices: list[dict[str, Any]] = [{}] if size is None else [{"img_size": size}, {}]
    for arguments in choices:
        torch.manual_seed(1)
        try:
            model: Any = timm.create_model(name, **options, **arguments).eval()
            if size is not None:
                with torch.no_grad():
                    model.forward_features(torch.zeros(1, 3, size, size))
        except Exception:
            continue
        yield model


@torch.no_grad()
def perturbed(model: nn.Module) -> None:
    """Move every floating tensor at random, so that no two are equal and no branch is off."""
    generator = torch.Generator().manual_seed(2)
    seen: set[int] = set()
    for key, value in model.state_dict().items():
        if not value.is_floating_point() or value.data_ptr() in seen or value.numel() == 0:
            continue
        seen.add(value.data_ptr())
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("running_var"):
            value.mul_((0.1 * noise).exp())
        else:
            spread = float(value.std()) if value.numel() > 1 else 0.0
            value.add_(noise * max(0.05 * spread, 0.01))


def in_deadly_format(name: str, network: nn.Module) -> str | None:
    """Say so if training would end the process: such a network is not trained here."""
    if not name.startswith(NEVER_CHANNELS_LAST):
        return None
    for weight in network.parameters():
        last = weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
        if last and not weight.is_contiguous():
            return "channels_last format, in which training it ends the process; not tried"
    return None


def left_over(reference: nn.Module, network: nn.Module) -> list[str]:
    """Floating tensors of timm's model that no tensor of the network equals."""
    there = set(_digests(network).values())
    return [key for key, digest in _digests(reference).items() if digest not in there]


def _digests(model: nn.Module) -> dict[str, bytes]:
    return {
        key: blake2b(value.detach().contiguous().flatten().numpy().tobytes()).digest()
        for key, value in model.state_dict().items()
        if value.is_floating_point() and value.numel()
    }


def unused_by_features(model: Any, images: Tensor) -> set[str]:
    """Names of tensors that `forward_features` does not depend on: those of the classifier.

    A buffer counts as the parameters of its module do.
    """
    with torch.enable_grad():
        total = sum(part.square().sum() for part in _tensors_in(model.forward_features(images)))
        named = list(model.named_parameters(remove_duplicate=False))
        gradients = torch.autograd.grad(total, [p for _, p in named], allow_unused=True)
    used = {n for (n, _), gradient in zip(named, gradients, strict=True) if gradient is not None}
    modules = {name.rpartition(".")[0] for name in used}
    everything = [n for n, _ in named] + [
        n for n, _ in model.named_buffers() if n.rpartition(".")[0] not in modules
    ]
    return {name for name in everything if name not in used}


def _tensors_in(output: Any) -> list[Tensor]:
    """Floating tensors of an output, those of its tuples and mappings too."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        output = output.values()
    elif not isinstance(output, list | tuple):
        return []
    return [part for inner in output for part in _tensors_in(inner)]


def timms_map(model: Any, images: Tensor, ours: Tensor) -> tuple[Tensor | None, str]:
    """The map of timm's own model, and where it was found.

    Args:
        model: timm's whole model.
        images: normalised, float [B, 3, H, W].
        ours: a map whose grid and channels say what to look for among several outputs.

    Returns:
        What `forward_features` gives, as [B, C, h, w] (after `fc_norm` where timm puts the last
        norm behind the pooling). Where it gives neither a map nor tokens, the output of the last
        module that equals ours; where none does, None.

    """
    heard: list[tuple[str, Tensor]] = []
    with _listening(model, heard):
        parts = _tensors_in(model.forward_features(images))
    grid = ours.shape[-2:]
    found = [m for part in parts for m in maps_in(part, grid) if m.shape == ours.shape]
    fc_norm = getattr(model, "fc_norm", None)
    if isinstance(fc_norm, nn.Module) and not isinstance(fc_norm, nn.Identity):
        found += [fc_norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for maps in found]
    if found:
        return min(found, key=lambda maps: relative_error(ours, maps)), "forward_features"
    if any(part.dim() == 4 or (part.dim() == 3 and part.shape[1] > MOST_PREFIX) for part in parts):
        return parts[0], "forward_features"
    for name, part in reversed(heard):
        for maps in maps_in(part, grid):
            if relative_error(ours, maps) <= 1e-4:
                return maps, name
    return None, "nowhere"


@contextmanager
def _listening(model: nn.Module, heard: list[tuple[str, Tensor]]) -> Iterator[None]:
    """Keep the outputs of all modules, by name, in the order in which they are made."""

    def listen(name: str) -> Any:
        return lambda module, inputs, output: heard.extend(
            (name, part) for part in _tensors_in(output)
        )

    handles = [m.register_forward_hook(listen(n)) for n, m in model.named_modules() if n]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def intermediates(model: Any, images: Tensor, number: int) -> list[Tensor]:
    """The map of an inner stage or block by timm's own account, as it is and normalised."""
    found = []
    for norm in (False, True):
        try:
            found += model.forward_intermediates(
                images, indices=[number], norm=norm, output_fmt="NCHW", intermediates_only=True
            )
        except Exception:  # many do not normalise
            continue
    fc_norm = getattr(model, "fc_norm", None)
    if isinstance(fc_norm, nn.Module):
        found += [fc_norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for maps in found]
    return found


def maps_in(output: Tensor, grid: Sequence[int]) -> Iterator[Tensor]:
    """Every way to read a tensor as a map [B, C, h, w] on this grid: NCHW, NHWC, tokens."""
    rows, columns = grid
    if output.dim() == 4:
        if list(output.shape[2:]) == [rows, columns]:
            yield output
        if list(output.shape[1:3]) == [rows, columns]:
            yield output.permute(0, 3, 1, 2)
    elif output.dim() == 3:
        if output.shape[1] >= rows * columns:
            patches = output[:, output.shape[1] - rows * columns :]
            yield patches.transpose(1, 2).unflatten(2, (rows, columns))
        if output.shape[2] == rows * columns:
            yield output.unflatten(2, (rows, columns))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-300))


def gradient_maps(
    model: Any, network: Any, images: Tensor, grid: Sequence[int]
) -> list[tuple[str, Tensor]]:
    """Grad-CAM before its ReLU of class 0, at each late module of timm's model on this grid.

    The head is the network's, over the mean of timm's own map.

    Returns:
        Module and map float [B, h, w], in the order of the forward pass; last the final map.

    """
    heard: list[tuple[str, Tensor]] = []
    ours = network(images).features.detach()
    with torch.enable_grad(), _listening(model, heard):
        final, where = timms_map(model, (images - network.mean) / network.std, ours)
        if final is None:
            return []
        logit = (final.mean((-2, -1)) @ network.head.weight.T)[:, 0].sum()
        late = heard[int(LATE * len(heard)) :]
        points = [(name, part) for name, part in late if any(True for _ in maps_in(part, grid))]
        points = [(name, part) for name, part in points if part.requires_grad]
        points.append((where, final))
        gradients = torch.autograd.grad(logit, [part for _, part in points], allow_unused=True)
    found = []
    for (name, part), gradient in zip(points, gradients, strict=True):
        if gradient is None:
            continue
        for maps, slopes in zip(maps_in(part, grid), maps_in(gradient, grid), strict=True):
            weights = slopes.mean((-2, -1))
            found.append((name, torch.einsum("bchw,bc->bhw", maps, weights).detach()))
    return found
