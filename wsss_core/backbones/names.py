"""Which backbones there are and which of them are plain ViTs, without loading timm or torch.

Importing timm takes seconds, and a study's plan only has to know that a model exists. timm's models
are functions decorated with `@register_model`, so their names stand in its source, and so do
deprecated names and most tags of weights. timm itself is asked for the other tags, and where it is
loaded already, as it is by a package that registers models of its own.
"""

import difflib
import importlib.util
import math
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from wsss_core.errors import InputError, one_line, quoted
from wsss_core.plugins import is_plugin, load_plugin

Layer = str | int
"""An inner layer: a CNN's stage by name or timm's index, a ViT's block by number (-1: the last)."""

PLAIN_VITS = frozenset({"vision_transformer", "deit", "eva", "beit"})
"""timm's modules of ViTs that this package takes apart itself: their patch tokens are the map."""

VITS = PLAIN_VITS | {
    "cait",
    "convit",
    "crossvit",
    "deepseek_vit",
    "gemma4_vit",
    "naflexvit",
    "qwen3_vit",
    "tnt",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vision_transformer_sam",
    "vitamin",
    "xcit",
}
"""timm's modules of plain transformers: tokens that attend to each other on a grid that stays."""

OWN_MODELS = {
    "conformer_tiny_patch16": "conformer",
    "conformer_small_patch16": "conformer",
    "conformer_base_patch16": "conformer",
}
"""Models of this package that timm builds by name, see `wsss_core.backbones.conformer`."""

SAME_ENCODER = frozenset(
    {
        "inception_resnet_v2",
        "inception_v3",
        "regnet",
        "res2net",
        "resnest",
        "resnet",
        "senet",
        "sknet",
    }
)
"""timm's modules whose networks are to the bit those of the first encoder (`ENCODER_VERSION`)."""

ENCODER_VERSION = 2
"""The version of the encoder of all other modules but `PLAIN_VITS`; keys of their training hold it.
The first was timm's `features_only`, which may lack blocks and the final norm."""

_WEIGHTS = "weights are named by the key `weights`, and hashed"
OUR_OPTIONS = {
    "pretrained": _WEIGHTS,
    "pretrained_cfg": _WEIGHTS,
    "pretrained_cfg_overlay": _WEIGHTS,
    "pretrained_strict": _WEIGHTS,
    "checkpoint_path": _WEIGHTS,
    "cache_dir": _WEIGHTS,
    "num_classes": "the classes are those of the data",
    "in_chans": "images have three channels",
    "img_size": "the size of images is set with the data",
    "features_only": "the key `stage` selects a stage",
    "feature_cfg": "the key `stage` selects a stage",
    "out_indices": "the key `stage` selects a stage",
    "output_stride": "it is a key of the backbone itself",
    "scriptable": "networks run as they are",
    "exportable": "networks run as they are",
}
"""Arguments of timm that are set here, and why a study's options cannot set them."""

PLUGIN_ARGUMENTS = {
    "classes": "the classes are those of the data",
    "image_size": "the size of images is set with the data",
}
"""Arguments that a plug-in gets beside its options."""

DEEPEST_NETWORK = 1000
"""The most blocks of a network that a study can ask for, over all stages."""

WIDEST_NETWORK = 2**16
"""The largest whole number among a network's options, such as a number of channels."""

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


_DEPRECATED = re.compile(
    r"^register_model_deprecations\(__name__, \{(.*?)^\}", re.DOTALL | re.MULTILINE
)
_KEY = re.compile(r"""^\s*['"]([\w.*-]+)['"]\s*:""", re.MULTILINE)


@cache
def _timm_source() -> dict[str, str]:
    """Return the modules of the installed timm's models: name -> source."""
    found = importlib.util.find_spec("timm")
    folders = found.submodule_search_locations if found is not None else None
    return {
        file.stem: file.read_text(encoding="utf-8")
        for folder in folders or ()
        for file in sorted(Path(folder, "models").glob("*.py"))
    }


@cache
def timm_models() -> dict[str, str]:
    """Return the models of the installed timm, name -> module ("resnet18" -> "resnet")."""
    return {
        name: module
        for module, source in _timm_source().items()
        for name in _REGISTERED.findall(source)
    }


@cache
def timm_deprecated_models() -> dict[str, str]:
    """Return names that timm keeps for models that it has renamed: name -> module."""
    return {
        name: module
        for module, source in _timm_source().items()
        for names in _DEPRECATED.findall(source)
        for name in _KEY.findall(names)
    }


@cache
def timm_tags(model: str) -> frozenset[str]:
    """Return tags of a known model's weights, such as "a1_in1k" of "resnet18.a1_in1k".

    Those that timm makes in a loop do not stand in its source and are missing.
    """
    names = _KEY.findall(_timm_source()[timm_models()[model]])
    split = (name.partition(".") for name in names)
    return frozenset(tag.strip("*") for owner, dot, tag in split if dot and owner == model)


def check_backbone_name(name: str) -> None:
    """Raise InputError if timm has no such model (the nearest are named) or no such tag of it.

    A plug-in ("module:attribute") has to be importable.
    """
    if is_plugin(name):
        load_plugin("model", name)
        return
    model, _, tag = name.partition(".")
    if name in OWN_MODELS or name in timm_models():
        return
    if model in timm_deprecated_models() or _is_registered(model):
        return
    if model not in timm_models():
        known_models = [*timm_models(), *OWN_MODELS]
        near = difflib.get_close_matches(model, known_models, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise InputError(f"timm {metadata.version('timm')} has no model {quoted(name)}{hint}")
    if tag in (tags := timm_tags(model)):
        return
    import timm  # takes seconds: only for a tag that is wrong, or that timm makes in a loop

    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        known = f"; expected one of {', '.join(sorted(tags))}" if tags else ""
        raise InputError(f"{one_line(error).removesuffix('.')}{known}") from error


def _is_registered(model: str) -> bool:
    """Return whether somebody registered a model with timm, which is not loaded for the answer."""
    timm = sys.modules.get("timm")
    return timm is not None and model not in timm_models() and timm.is_model(model)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise unless a study may build a backbone with these options.

    Args:
        name: a timm model or a plug-in, whose options have other names and bounds.
        options: arguments of the model, as a study file gives them.

    Raises:
        InputError: an option is set elsewhere, has no value, or its numbers are out of range.

    """
    set_here = PLUGIN_ARGUMENTS if is_plugin(name) else OUR_OPTIONS
    for option, value in options.items():
        if option in set_here:
            raise InputError(f"option {option!r} cannot be given: {set_here[option]}")
        # timm ignores options of None silently, so a slip like {depth:4} would go unseen.
        if value is None:
            raise InputError(f"option {quoted(option)} has no value")
        numbers = [*_numbers(value)]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise InputError(f"option {quoted(option)}: expected finite numbers")
        if is_plugin(name):
            continue
        whole = [number for number in numbers if type(number) is int]
        if option in _AT_LEAST_ONE and any(number < 1 for number in numbers):
            raise InputError(f"option {option!r}: expected 1 or more, got {quoted(value)}")
        if option in _BLOCKS and sum(whole) > DEEPEST_NETWORK:
            raise InputError(f"option {option!r}: expected at most {DEEPEST_NETWORK} blocks")
        if any(number > WIDEST_NETWORK for number in whole):
            raise InputError(f"option {quoted(option)}: expected at most {WIDEST_NETWORK}")


_BLOCKS = ("depth", "depths", "layers")
_AT_LEAST_ONE = (*_BLOCKS, "embed_dim", "num_heads", "patch_size", "channels")


def _numbers(value: Any) -> Iterator[int | float]:
    """Yield the numbers of an option, those of its lists and mappings too."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)


def timm_config(name: str) -> Any:
    """Return timm's configuration of a model: mean, std, tag; timm and torch are loaded."""
    import timm

    if name.partition(".")[0] in OWN_MODELS:
        import wsss_core.backbones.conformer.registered  # noqa: F401 (which tells timm of them)
    return timm.get_pretrained_cfg(name)


def timm_module(name: str) -> str:
    """Return the module of timm that defines a model, such as "resnet" for "resnet18"."""
    model = name.partition(".")[0]
    module = timm_models().get(model) or OWN_MODELS.get(model)
    module = module or timm_deprecated_models().get(model)
    if module is None:
        import timm

        entry: Any = timm.model_entrypoint(name)
        module = str(entry.__module__).rsplit(".", 1)[-1]
    return module


def has_patch_tokens(name: str) -> bool:
    """Return whether a timm model is one of `PLAIN_VITS`."""
    return timm_module(name) in PLAIN_VITS


def encoder_version(name: str) -> int:
    """Return the version of the encoder that a timm model gets: 1 where nothing has changed."""
    same = timm_module(name) in PLAIN_VITS | SAME_ENCODER
    return 1 if same else ENCODER_VERSION


def normalises_pooled(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether a plain ViT has a norm that timm applies after pooling the mean.

    timm and torch are loaded, and the ViT is built without memory for its numbers. A model that
    cannot be built has none; building it says why.
    """
    if is_plugin(name) or not has_patch_tokens(name):
        return False
    import timm
    import torch

    try:
        with torch.device("meta"):
            vit: Any = timm.create_model(name, num_classes=0, **options)
    except Exception:
        return False
    return not isinstance(vit.fc_norm, torch.nn.Identity)


def is_vit(name: str) -> bool:
    """Return whether a model is a plain transformer, see `VITS`.

    A plug-in says so itself by an attribute `is_vit`.
    """
    if is_plugin(name):
        return bool(getattr(load_plugin("model", name), "is_vit", False))
    return timm_module(name) in VITS
