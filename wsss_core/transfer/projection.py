"""The learnable projection P, part of the student, that lets the channels of two maps meet."""

from torch import nn

from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, load_plugin

DEFAULT_PROJECTION = {"feature": "conv1x1", "gram": "conv1x1"}
"""The projection of a representation where none is named; the others have none."""


def build_projection(name: str, channels: int, target: int) -> nn.Module | None:
    """Build a projection [B, channels, h, w] -> [B, target, h, w]; None if there is none.

    Args:
        name: "conv1x1"; "mlp", two 1x1 convolutions with a GELU between, the first to `target`
            channels; "none"; or a plug-in, called with both numbers.
        channels: channels of the student's map.
        target: channels of the teacher's map.

    """
    if is_plugin(name):
        module = load_plugin("projection", name)(channels, target)
        if not isinstance(module, nn.Module):
            raise InputError(
                f"projection {name!r}: expected an nn.Module, got {type(module).__name__}"
            )
        return module
    if name == "none":
        return None
    if name == "mlp":
        return nn.Sequential(
            nn.Conv2d(channels, target, 1), nn.GELU(), nn.Conv2d(target, target, 1)
        )
    return nn.Conv2d(channels, target, 1)
