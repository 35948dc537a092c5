"""Weight soups: one network from the average of several networks' weights.

M. Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time", ICML 2022, arXiv 2203.05482. The uniform soup of section 2.
Networks that began at the same published weights lie near each other, and their average is often
better than each. Networks that began at different random weights rarely average to anything useful:
their hidden units are in different orders.
"""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from wsss_core.errors import InputError

AveragedT = TypeVar("AveragedT", bound=nn.Module)


def average_weights(target: AveragedT, networks: Iterable[nn.Module]) -> AveragedT:
    """Give a network the mean of several networks' parameters and buffers.

    Running means and variances of BatchNorm are averaged as they are. Counters and other whole
    numbers are the first network's.

    Args:
        target: a network of the same architecture, changed in place.
        networks: two or more, read one after another.

    Returns:
        The target, in evaluation mode.

    Raises:
        InputError: no network, or networks of different architectures.

    """
    sums: dict[str, Tensor] = {}
    count = 0
    for network in networks:
        state = network.state_dict()
        if not sums:
            sums = {
                name: value.detach().double() if value.is_floating_point() else value.detach()
                for name, value in state.items()
            }
        elif _shapes(state) != _shapes(sums):
            raise InputError("a soup averages weights of one architecture; the networks differ")
        else:
            for name, value in state.items():
                if value.is_floating_point():
                    sums[name] = sums[name] + value.detach().double()
        count += 1
    own = target.state_dict()
    if not count or _shapes(own) != _shapes(sums):
        raise InputError("a soup averages weights of one architecture; the networks differ")
    mean = {
        name: (value / count if value.is_floating_point() else value).to(own[name].dtype)
        for name, value in sums.items()
    }
    with torch.no_grad():
        target.load_state_dict(mean)
    return target.eval()


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
