"""A limit on the size of a network while it is built, before its memory is taken.

A study can ask for any depth and width. PyTorch has no estimate of a network that is not built yet,
but each of its tensors is made by a function that can be watched.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from wsss_core.errors import InputError

MOST_TENSORS = 20_000
"""The most tensors of a network; a ResNet-152 has 900, a ViT of 1,000 blocks 14,000."""

MOST_NUMBERS = 10**10
"""The most numbers in these tensors (40 GB); a ViT-Giant has 2e9."""

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


class SizeLimit(TorchFunctionMode):
    """Raises `InputError` as soon as the tensors made in its block exceed a limit.

    Args:
        name: the network's name, for the message.

    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._tensors = self._numbers = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count a tensor that is to be made, then run the function."""
        given = dict(kwargs or {})
        if func in _MAKERS:
            size = given.get("size", args[0] if args and not isinstance(args[0], int) else args)
            self._tensors += 1
            self._numbers += math.prod(size)
            if self._tensors > MOST_TENSORS or self._numbers > MOST_NUMBERS:
                raise InputError(
                    f"{self._name}: more than {MOST_TENSORS} tensors or {MOST_NUMBERS:.0e} numbers "
                    "with these options; expected a smaller network"
                )
        return func(*args, **given)
