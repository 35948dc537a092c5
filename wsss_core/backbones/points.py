"""The points of a network at which CAMs take gradients: the n-th output of a submodule.

timm's `feature_info` names submodules that do not exist, are never called, are called several times
or give tuples and tokens. So the submodule is found by what it gives: the map that timm's own
`forward_intermediates` returns for the layer.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones.layout import MapLayout, by_value


@dataclass(frozen=True)
class CamPoint:
    """A tensor on the way from an image to its map.

    Attributes:
        module: the submodule that gives it.
        call: in which of the module's calls within a forward pass, from 0.
        layout: how the output holds the map.

    """

    module: nn.Module
    call: int = 0
    layout: MapLayout = field(default_factory=MapLayout)


@dataclass(frozen=True)
class FoundModule:
    """Where a submodule gives a wanted map: a `CamPoint` by the module's name."""

    name: str
    call: int
    layout: MapLayout


def find_points(
    model: nn.Module, run: Callable[[], Any], wanted: Mapping[int, Tensor], names: Mapping[int, str]
) -> dict[int, FoundModule]:
    """Find the submodules that give some maps.

    A map that is met to the bit goes before one met up to rounding, a submodule of the layer's name
    before others, and an earlier one before a later one, which may see the map in a side branch.

    Args:
        model: the network.
        run: a forward pass through it, without a gradient.
        wanted: float [B, C, h, w] by layer.
        names: the submodule's name by layer, as timm gives it.

    """
    best: dict[int, tuple[tuple[bool, bool], FoundModule]] = {}
    calls: Counter[str] = Counter()

    def watch(name: str) -> Callable[..., None]:
        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            call = calls[name]
            calls[name] += 1
            for layer, target in wanted.items():
                known = best.get(layer)
                for exactly in (True, False):
                    rank = (not exactly, name != names[layer])
                    if known is not None and known[0] <= rank:
                        continue
                    layout = by_value(output, target, exactly=exactly)
                    if layout is not None:
                        best[layer] = rank, FoundModule(name, call, layout)
                        break

        return see

    handles = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if name]
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return {layer: found for layer, (_, found) in best.items()}
