"""Conformer-Ti, -S and -B as models that timm knows by name; loading this registers them.

There are no weights to download: the authors' files are given as `weights: FILE`.
"""

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from wsss_core.backbones.conformer.conformer import Conformer

__all__: list[str] = []  # timm adds the names that it registers

_CONFIG = {
    "input_size": (3, 224, 224),
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "num_classes": 1000,
    "first_conv": "conv1",
    "classifier": ("conv_cls_head", "trans_cls_head"),
}

default_cfgs = generate_default_cfgs(
    {f"conformer_{size}_patch16": dict(_CONFIG) for size in ("tiny", "small", "base")}
)


def _built(name: str, pretrained: bool, **arguments: Any) -> Any:
    return build_model_with_cfg(Conformer, name, pretrained, **arguments)


@register_model
def conformer_tiny_patch16(pretrained: bool = False, **options: Any) -> Any:
    """Build Conformer-Ti: 64 to 256 channels, tokens of 384, 23.5 million parameters."""
    return _built("conformer_tiny_patch16", pretrained, **{"channel_ratio": 1, **options})


@register_model
def conformer_small_patch16(pretrained: bool = False, **options: Any) -> Any:
    """Build Conformer-S: 256 to 1,024 channels, tokens of 384, 37.7 million parameters."""
    return _built("conformer_small_patch16", pretrained, **{"channel_ratio": 4, **options})


@register_model
def conformer_base_patch16(pretrained: bool = False, **options: Any) -> Any:
    """Build Conformer-B: 384 to 1,536 channels, tokens of 576, 83.3 million parameters."""
    base = {"channel_ratio": 6, "embed_dim": 576, "num_heads": 9}
    return _built("conformer_base_patch16", pretrained, **{**base, **options})
