"""Training a part of a network: its head, its neck and head, or its last layers too.

What is frozen gets no gradient, and its BatchNorm, dropout and stochastic depth stay in evaluation
mode whatever mode the network is put in.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from wsss_core.backbones import Network, PatchTokens
from wsss_core.errors import InputError
from wsss_core.training.checkpoint import HasState

WhatLearns = str | Mapping[str, int] | None
"""What a network trains: "head", "neck" (with the head), {"last": N}, or None for all of it."""


def freeze(network: Network, trained: WhatLearns) -> None:
    """Freeze all of a network but what it trains, in place.

    Args:
        network: with an encoder of this package where its last layers are to be trained.
        trained: "head" or "neck" freeze the encoder. {"last": N} leaves a plain ViT's last N blocks
            or a CNN's last N stages, and what comes after them.

    Raises:
        InputError: the encoder has fewer layers, or a stage that no submodule stands for.

    """
    if trained is None:
        return
    encoder = network.encoder
    model = encoder if isinstance(trained, str) else encoder.model
    modules = [*model.modules()]
    number = {module: place for place, module in enumerate(modules)}
    last = len(modules) - 1
    if not isinstance(trained, str):
        last = _last_frozen(encoder, trained["last"], number)
    for module in modules:
        # A module that holds others is frozen by the first of them, and evaluates by the last.
        within = [number[inner] for inner in module.modules() if not [*inner.children()]]
        if within[0] <= last:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    network.frozen = tuple(
        module for module in modules if max(number[inner] for inner in module.modules()) <= last
    )
    network.train(network.training)


def _last_frozen(encoder: Any, count: int, number: Mapping[nn.Module, int]) -> int:
    """Return the place, in order of registration, of the last module that is frozen."""
    layers = encoder.layers
    if not 1 <= count <= len(layers) - (not isinstance(encoder, PatchTokens)):
        raise InputError(
            f"train: last {count}: expected 1 to {len(layers)} of this network's {len(layers)} "
            "blocks, fewer than all of a CNN's stages; all trains the whole network"
        )
    if isinstance(encoder, PatchTokens):
        return number[encoder.vit.blocks[len(layers) - count]] - 1
    name = str(layers[len(layers) - count - 1])
    try:
        stage = encoder.extractor.get_submodule(name)
    except AttributeError:
        raise InputError(
            f"train: last {count}: no submodule is called {name!r}, as the stage before them is; "
            "use all, neck or head"
        ) from None
    return max(number[inner] for inner in stage.modules())


class MovingState:
    """The state of what a paradigm trains, without the frozen parts of its networks.

    A checkpoint of it holds kilobytes where an encoder of megabytes stays as it is.
    """

    def __init__(self, paradigm: nn.Module) -> None:
        self._paradigm = paradigm
        self._fixed: set[str] = set()
        for prefix, network in paradigm.named_modules(remove_duplicate=False):
            frozen = set(getattr(network, "frozen", ()))
            for name, module in network.named_modules(prefix=prefix, remove_duplicate=False):
                if module in frozen:
                    own = (module.named_parameters, module.named_buffers)
                    self._fixed |= {n for of in own for n, _ in of(name, recurse=False)}

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors that move, by name."""
        whole = self._paradigm.state_dict()
        return {name: value for name, value in whole.items() if name not in self._fixed}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over the tensors that move, all of them.

        Raises:
            ValueError: others than those.

        """
        if state.keys() != self.state_dict().keys():
            raise ValueError("it holds other tensors than the networks train")
        self._paradigm.load_state_dict(state, strict=False)


def moving_state(paradigm: nn.Module) -> HasState:
    """Return what a checkpoint keeps of a paradigm: all of it where nothing is frozen."""
    some = any(getattr(module, "frozen", ()) for module in paradigm.modules())
    return MovingState(paradigm) if some else paradigm
