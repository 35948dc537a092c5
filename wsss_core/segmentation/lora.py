"""Low-rank adapters (Hu et al., "LoRA", ICLR 2022) in the attention of an image encoder.

`peft` finds layers by their names, which differ between models and are the decoder's in some. Here
the layers are found by the type of the module that holds them, and counted afterwards.
"""

import importlib.util
from typing import Any

from torch import nn

from wsss_core.errors import InputError
from wsss_core.segmentation.decoders import SEGMENTATION_EXTRA


def attention_projections(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """Return the names of the linear layers that make queries, keys and values.

    Args:
        model: the whole model.
        kinds: types of attention modules; subclasses count.

    """
    wanted = ("qkv", "q_proj", "v_proj")
    return [
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        for part, layer in module.named_children()
        if part in wanted and isinstance(layer, nn.Linear)
    ]


def add_lora(
    model: nn.Module,
    kinds: tuple[type[nn.Module], ...],
    *,
    rank: int,
    alpha: float | None = None,
) -> int:
    """Add adapters to a model in place and freeze all else; return how many layers have one.

    An adapter starts at zero, so the model's outputs are what they were.

    Args:
        model: the whole model.
        kinds: types of attention modules whose projections are adapted.
        rank: r of the adapters, 1 or more.
        alpha: adapters are scaled by alpha / r; None: r.

    Raises:
        InputError: peft is not installed, the model has no such layer, or a number out of range.

    """
    if importlib.util.find_spec("peft") is None:
        raise InputError(f"image_encoder lora: needs the package peft; {SEGMENTATION_EXTRA}")
    scale = rank if alpha is None else alpha
    if type(rank) is not int or rank < 1 or not scale > 0:
        raise InputError(f"rank {rank!r}, alpha {alpha!r}: expected 1 or more, and above 0")
    names = attention_projections(model, kinds)
    if not names:
        named = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(f"image_encoder lora: the model has no attention of the types {named}")
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    settings: dict[str, Any] = {"r": rank, "lora_alpha": scale, "target_modules": names}
    inject_adapter_in_model(LoraConfig(**settings), model)
    adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    if sorted(adapted) != sorted(names):
        raise AssertionError(f"peft adapted {len(adapted)} layers, expected {len(names)}")
    return len(adapted)
