"""The names of necks, without torch."""

from typing import Literal, get_args

NeckName = Literal["conv1x1", "mlp", "conv", "transformer"]
NECKS: tuple[str, ...] = get_args(NeckName)
