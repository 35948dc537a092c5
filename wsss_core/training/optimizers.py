"""Optimizers, and the learning rate of each group of parameters over a training."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from wsss_core.errors import InputError
from wsss_core.training.settings import TrainingSettings
from wsss_core.transfer.paradigms import Paradigm


class ParameterGroup(NamedTuple):
    """Parameters that learn at the rate of the schedule times a number."""

    parameters: Iterable[nn.Parameter]
    multiple: float = 1.0


def build_optimizer(
    name: str,
    groups: Sequence[ParameterGroup],
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
) -> torch.optim.Optimizer:
    """Return an optimizer of all parameters that learn.

    Args:
        name: "adamw" or "sgd".
        groups: empty ones are left out.
        learning_rate: at its highest.
        weight_decay: of the optimizer.
        momentum: of SGD.

    Raises:
        InputError: nothing learns.

    """
    made = [
        {"params": [p for p in group.parameters if p.requires_grad], "multiple": group.multiple}
        for group in groups
    ]
    made = [group for group in made if group["params"]]
    if not made:
        raise InputError("there is no parameter to train")
    given: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay, "fused": True}
    if name == "sgd":
        return torch.optim.SGD(made, momentum=momentum, **given)
    return torch.optim.AdamW(made, **given)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group: a schedule's, times the group's own multiple."""
    for group in optimizer.param_groups:
        # The state of an optimizer from before there were groups has no multiple.
        group["lr"] = rate * group.setdefault("multiple", 1.0)


def paradigm_optimizer(paradigm: Paradigm, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer of a paradigm's networks; see `head_and_encoders` for its groups."""
    return build_optimizer(
        settings.optimizer,
        head_and_encoders(paradigm, settings.head_multiple),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )


def head_and_encoders(paradigm: Paradigm, head_multiple: float) -> list[ParameterGroup]:
    """Return the parameters of a paradigm: encoders, and all that is none at a rate of its own.

    All that is no encoder are the classifiers' heads, PCM and the projections of the alignment,
    which start at random.

    Raises:
        InputError: a network that has no `encoder`, with another multiple than 1.

    """
    if head_multiple == 1:
        return [ParameterGroup(paradigm.trainable_parameters())]
    encoders: set[int] = set()
    for role, network in paradigm.networks.items():
        encoder = getattr(network, "encoder", None)
        if not isinstance(encoder, nn.Module):
            raise InputError(
                f"head_multiple is {head_multiple:g}; expected 1, as the {role} "
                f"({type(network).__name__}) has no `encoder` to tell its head from"
            )
        encoders |= {id(parameter) for parameter in encoder.parameters()}
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in paradigm.trainable_parameters():
        parts[id(parameter) not in encoders].append(parameter)
    return [ParameterGroup(parts[0]), ParameterGroup(parts[1], head_multiple)]
