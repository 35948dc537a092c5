"""Maps of any scale, shape and precision as tests draw them, and what has to survive them."""

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from wsss_core.backbones import Output
from wsss_core.errors import InputError
from wsss_core.transfer import (
    Alignment,
)

ADAM_KEEPS = math.sqrt(torch.finfo(torch.float32).max)
"""The greatest gradient whose square fits float32."""

SCALES = (1e-44, 1e-40, 1e-20, 1e-10, 1e-7, 1e-3, 1.0, 300.0, 6e4, 1e8, 4e14, 1e17, 1e20)
KINDS = ("normal", "positive", "zero", "constant", "one-hot", "dead channel", "wide")
HALVES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

shapes = st.tuples(*(st.integers(1, top) for top in (3, 4, 5, 4)))
grids = st.tuples(st.integers(1, 5), st.integers(1, 4))


class Values(NamedTuple):
    """How the numbers of a map are drawn."""

    kind: str
    scale: float
    dtype: str
    seed: int

    def drawn(self, *shape: int) -> Tensor:
        """Return such a map, with numbers that its precision holds."""
        random = torch.Generator().manual_seed(self.seed)
        maps = torch.randn(shape, generator=random)
        if self.kind == "positive":
            maps = maps.relu()
        elif self.kind == "zero":
            maps = torch.zeros(shape)
        elif self.kind == "constant":
            maps = torch.ones(shape)
        elif self.kind == "one-hot":
            maps = torch.zeros(shape)
            maps.view(-1)[self.seed % maps.numel()] = 1
        elif self.kind == "dead channel":
            maps[:, 0] = 0
        elif self.kind == "wide":
            maps = maps * 10.0 ** torch.empty(shape).uniform_(-6, 0, generator=random)
        dtype = HALVES[self.dtype]
        most = torch.finfo(dtype).max
        return (maps * self.scale).clamp(-most, most).to(dtype)


values = st.builds(
    Values,
    st.sampled_from(KINDS),
    st.sampled_from(SCALES),
    st.sampled_from(list(HALVES)),
    st.integers(0, 2**16),
)


def check_survives(loss: Tensor, moved: list[Tensor]) -> None:
    """Fail unless the loss is finite and its gradients are such that AdamW can go on."""
    assert loss.isfinite()
    loss.backward()
    reached = [tensor for tensor in moved if tensor.grad is not None]
    assert reached
    for tensor in reached:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.float().abs().max() < ADAM_KEEPS


def output(values: Values, batch: int, channels: int, grid: tuple[int, int]) -> Output:
    """A network's output of such features, whose two classes have such maps and logits too."""
    features = values.drawn(batch, channels, *grid).requires_grad_()
    maps = values.drawn(batch, 2, *grid).requires_grad_()
    logits = values.drawn(batch, 2, 1, 1).flatten(1).requires_grad_()
    return Output(features, maps, logits)


def network(channels: int) -> Any:
    """What an alignment asks of a network."""
    return SimpleNamespace(channels_at=lambda layer: channels, classes=2)


def leaves_float16(*both: Values) -> bool:
    """Whether a gradient may be beyond float16, in which nothing here is trained."""
    return any(one.dtype == "float16" for one in both) and any(one.scale > 60 for one in both)


def check_alignment_survives(
    both: tuple[Values, Values],
    batch: int,
    channels: tuple[int, int],
    grid: tuple[Any, Any],
    **how: Any,
) -> None:
    """Fail unless an alignment of two networks with such outputs survives them."""
    torch.manual_seed(0)
    sides = zip(both, channels, grid, strict=True)
    outputs = [output(one, batch, count, size) for one, count, size in sides]
    mixed = "bfloat16" in [one.dtype for one in both]
    try:
        alignment = Alignment(*map(network, channels), **how)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = alignment(*outputs)
    except InputError:
        assume(False)  # what cannot be aligned is refused, see the tests of alignments
        raise
    moved = [one for found in outputs for one in (found.features, found.activation_maps)]
    logits = [found.logits for found in outputs]
    check_survives(loss, [*moved, *logits, *alignment.parameters()])
