"""The gradient of a batch in as many parts as memory asks for.

A step that runs out of memory is not half done: what a forward pass moves (buffers such as
BatchNorm's statistics, the state of the random numbers) is put back, gradients are dropped, and
the batch is taken again in parts of half as many images.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wsss_core.out_of_memory import give_back, halved, is_out_of_memory
from wsss_core.transfer.paradigms import Losses


class BatchTerms(NamedTuple):
    """The losses of a batch, and how it was taken.

    Attributes:
        sums: float64 [3] on the device: total, classification and transfer loss, each summed over
            the images.
        has_transfer: whether there is a transfer loss.
        micro_batch: the most images taken at once from now on; None: whole batches.

    """

    sums: Tensor
    has_transfer: bool
    micro_batch: int | None


def batch_gradients(
    network: nn.Module,
    losses: Callable[[np.ndarray], Losses],
    chosen: np.ndarray,
    micro_batch: int | None,
    *,
    device: str,
    what: str,
) -> BatchTerms:
    """Leave the gradients of a batch's mean loss in the parameters' `grad`.

    A part of n images of a batch of N counts n / N, so that means over the parts' images make the
    mean over the batch's.

    Args:
        network: the module whose parameters and buffers take part.
        losses: called with some of the images; their losses.
        chosen: the batch, any numbers that `losses` knows images by.
        micro_batch: the most images at once; None: all.
        device: the device whose memory may run out.
        what: names the work in the error.

    Raises:
        torch.OutOfMemoryError: a single image does not fit.

    """
    while True:
        parts = _parts(chosen, micro_batch)
        before = _State(network, device)
        network.zero_grad(set_to_none=True)
        try:
            sums, has_transfer = _add_up(losses, parts, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return BatchTerms(sums, has_transfer, micro_batch)
        micro_batch = halved(len(parts[0]), what)
        network.zero_grad(set_to_none=True)
        before.put_back()
        give_back(device)


def _parts(chosen: np.ndarray, micro_batch: int | None) -> list[np.ndarray]:
    """Split the batch into as few parts as can be, of sizes as equal as can be."""
    if micro_batch is None:
        return [chosen]
    return np.array_split(chosen, math.ceil(len(chosen) / micro_batch))


def _add_up(
    losses: Callable[[np.ndarray], Losses], parts: list[np.ndarray], device: str
) -> tuple[Tensor, bool]:
    count = sum(map(len, parts))
    # Summed on the device: reading a loss back at each step would make a GPU wait.
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    has_transfer = False
    for part in parts:
        found = losses(part)
        (found.total * (len(part) / count)).backward()
        has_transfer = found.transfer is not None
        transfer = torch.zeros_like(found.total) if found.transfer is None else found.transfer
        terms = torch.stack([found.total, found.classification, transfer]).detach()
        sums += len(part) * terms.double()
    return sums, has_transfer


class _State:
    """The present state of all that a forward pass in training mode changes, gradients aside."""

    def __init__(self, network: nn.Module, device: str) -> None:
        # A frozen teacher, in evaluation mode, moves none.
        moving = (module for module in network.modules() if module.training)
        buffers = [buffer for module in moving for buffer in module.buffers(recurse=False)]
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._random = torch.get_rng_state()
        self._device = device
        on_cuda = torch.device(device).type == "cuda"
        self._random_cuda = torch.cuda.get_rng_state(device) if on_cuda else None

    def put_back(self) -> None:
        with torch.no_grad():
            for buffer, value in self._buffers:
                buffer.copy_(value)
        torch.set_rng_state(self._random)
        if self._random_cuda is not None:
            torch.cuda.set_rng_state(self._random_cuda, self._device)
