"""Which backbones there are and which of them are plain ViTs, without loading timm or torch.

Importing timm takes seconds, and a study's plan only has to know that a model exists. timm's models
are functions decorated with `@register_model`, so their names stand in its source. A name that is
not found there (a deprecated alias, a model that was registered elsewhere) is asked of timm itself.
"""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from wsss_core.errors import InputError, one_line
from wsss_core.plugins import is_plugin, load_plugin

Layer = str | int
"""An inner layer: a CNN's stage by name or timm's index, a ViT's block by number (-1: the last)."""

PLAIN_VITS = frozenset({"vision_transformer", "deit", "eva", "beit"})
"""timm's modules whose models keep one sequence of tokens on a fixed patch grid."""

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def timm_models() -> dict[str, str]:
    """Return the models of the installed timm, name -> module ("resnet18" -> "resnet")."""
    found = importlib.util.find_spec("timm")
    folders = found.submodule_search_locations if found is not None else None
    return {
        name: file.stem
        for folder in folders or ()
        for file in sorted(Path(folder, "models").glob("*.py"))
        for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))
    }


def check_backbone_name(name: str) -> None:
    """Raise InputError if timm has no such model (the nearest are named) or no such tag of it.

    A plug-in ("module:attribute") has to be importable.
    """
    if is_plugin(name):
        load_plugin("model", name)
        return
    if name in timm_models():
        return
    import timm  # takes seconds: only for a tag, for a name that is not in the source, and for none

    if timm.is_model(name):
        try:
            timm.get_pretrained_cfg(name)
        except RuntimeError as error:
            raise InputError(one_line(error)) from error
        return
    near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise InputError(f"timm {timm.__version__} has no model {name!r}{hint}")


def is_vit(name: str) -> bool:
    """Return whether a model keeps one sequence of tokens on a fixed patch grid.

    A plug-in says so itself by an attribute `is_vit`.
    """
    if is_plugin(name):
        return bool(getattr(load_plugin("model", name), "is_vit", False))
    module = timm_models().get(name.partition(".")[0])
    if module is None:
        import timm

        entry: Any = timm.model_entrypoint(name)
        module = entry.__module__.rsplit(".", 1)[-1]
    return module in PLAIN_VITS
