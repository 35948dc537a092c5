"""Context managers that put a network into the state a CAM needs, and back on the way out.

They restore the earlier state, after an exception too, and not a default.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones import CamPoint


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let no parameter ask for a gradient, so that none is computed and none accumulated."""
    asking = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


@contextmanager
def captured(points: Sequence[CamPoint]) -> Iterator[dict[int, Tensor]]:
    """Yield a forward pass's tensors at some points, to take gradients at.

    The first of them in the pass becomes a leaf, so that autograd records nothing before it. A
    compiled network runs as written meanwhile: what was compiled knows no hooks.

    Yields:
        The tensors of the last forward pass by the point's position.

    """
    found: dict[int, Tensor] = {}

    def hook(position: int, point: CamPoint) -> Any:
        calls = itertools.count()

        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            if next(calls) != point.call:
                return output
            tensor = point.layout.pick(output)
            leaf = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            found[position] = leaf
            # The next module may work in place, which must not touch the leaf.
            return point.layout.replaced(output, leaf.clone())

        return keep

    handles = [p.module.register_forward_hook(hook(n, p)) for n, p in enumerate(points)]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def resized_for(vit: Any, size: int) -> Iterator[None]:
    """Let a timm ViT take square inputs of another size; its own parameters are not touched.

    timm resamples the position embeddings, or tables of relative positions, into new parameters
    (`set_input_size`). Afterwards the old ones are back, the very same objects.
    """
    # These are changed in place: each is emptied and filled again.
    names = ("_parameters", "_buffers", "_modules")
    before = [
        (module, dict(vars(module)), {name: dict(vars(module)[name]) for name in names})
        for module in vit.modules()
    ]
    try:
        with torch.no_grad():
            vit.set_input_size(img_size=(size, size))
        yield
    finally:
        for module, attributes, held in before:
            vars(module).clear()
            vars(module).update(attributes)
            for name, inner in held.items():
                vars(module)[name].clear()
                vars(module)[name].update(inner)
