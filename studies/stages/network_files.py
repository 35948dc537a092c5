"""Trained networks in files: every tensor once, also where modules share it."""

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, contiguous_format, nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def save_network(network: nn.Module, file: Path) -> None:
    """Write a network's tensors to a safetensors file.

    A tensor that several modules share is written once, under the first of its names: safetensors
    refuses to write it twice.

    Args:
        network: on any device; it is left as it is.
        file: replaced if it exists.

    """
    state = network.state_dict()
    save_file(
        {
            # A copy, since a view of a larger tensor is refused too.
            name: state[name].detach().cpu().clone(memory_format=contiguous_format)
            for name, first in _first_names(state).items()
            if name == first
        },
        file,
    )


def restore_network(network: NetworkT, file: Path) -> NetworkT:
    """Give a network the tensors that `save_network` wrote; return it in evaluation mode.

    Args:
        network: built as the one that was written; changed in place.
        file: a file in which every shared tensor stands at least once.

    Raises:
        RuntimeError: the file's tensors are those of another network.

    """
    stored = load_file(file)
    for name, first in _first_names(network.state_dict()).items():
        if name not in stored and first in stored:
            stored[name] = stored[first]
    network.load_state_dict(stored)
    return network.eval()


def _first_names(state: dict[str, Tensor]) -> dict[str, str]:
    """Return for each name of a tensor the first name that the same tensor has."""
    first: dict[object, str] = {}
    return {
        name: first.setdefault(
            (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
            if value.numel()
            else name,
            name,
        )
        for name, value in state.items()
    }
