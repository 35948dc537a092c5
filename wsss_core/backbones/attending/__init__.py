"""The attention of transformers, read while they run."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.backbones.attending.blocks import (
        BlockAttention,
        detached_attention,
        with_attention,
    )
    from wsss_core.backbones.attending.self_attention import (
        Attention,
        HeadMean,
        SelfAttention,
        WindowAttention,
        attending_model,
        attends,
        listening,
    )

__all__ = [
    "Attention",
    "BlockAttention",
    "HeadMean",
    "SelfAttention",
    "WindowAttention",
    "attending_model",
    "attends",
    "detached_attention",
    "listening",
    "with_attention",
]

__getattr__ = lazy_exports(__name__, __file__)
