"""An average of the weights over the steps of a training, which is scored in their place.

Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017 (arXiv 1703.01780).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.training.checkpoint import HasState
from wsss_core.transfer import move_average

_AVERAGE = "weight average: "
"""Before the names of an average's tensors; no module can bear such a name."""


class WeightAverage:
    """The exponential moving average of what a training changes.

    average = d x average + (1 - d) x weights after each step, with d = min(decay, 1 - 1 / step) as
    in the authors' code: a plain mean of the weights so far, until `decay` is the longer memory. So
    the start has no part in it. Buffers with fractions (BatchNorm's statistics) are averaged too,
    whole numbers are those of the last step.

    Args:
        part: what is averaged: its state.
        decay: above 0, below 1.

    """

    def __init__(self, part: HasState, decay: float) -> None:
        self._part, self._decay = part, decay
        self.average = {name: value.clone() for name, value in part.state_dict().items()}

    def update(self, step: int) -> None:
        """Take the weights after a step in, counted from 1."""
        share = 1 - min(self._decay, 1 - 1 / step)
        move_average(self.average, self._part.state_dict(), share)

    def put_in(self) -> None:
        """Put the average in the place of the weights."""
        self._part.load_state_dict(self.average)


class AveragedState:
    """What a checkpoint keeps of a training whose weights are averaged: both.

    Args:
        model: what is trained.
        average: of it or of a part of it.

    """

    def __init__(self, model: HasState, average: WeightAverage) -> None:
        self._model, self._average = model, average

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by name, and their averages under names of their own."""
        average = self._average.average
        return {
            **self._model.state_dict(),
            **{f"{_AVERAGE}{name}": value for name, value in average.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take both over.

        Raises:
            InputError: another training's.

        """
        ours = self._average.average
        kept = {n.removeprefix(_AVERAGE): v for n, v in state.items() if n.startswith(_AVERAGE)}
        if set(kept) != set(ours):
            raise InputError(f"an average of {len(ours)} tensors expected, {len(kept)} found")
        rest = {n: v for n, v in state.items() if not n.startswith(_AVERAGE)}
        self._model.load_state_dict(rest)
        with torch.no_grad():
            for name, value in ours.items():
                value.copy_(kept[name])
