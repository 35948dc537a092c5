"""The weights that timm has for a model: their name, their download, their place on this machine.

Fetched weights are given to timm as the `file` of the model's configuration, so that timm converts
them as it converts what it downloads itself.
"""

import contextlib
from pathlib import Path
from typing import Any

from wsss_core.backbones.names import timm_config
from wsss_core.errors import InputError, one_line
from wsss_core.fetched_weights import checked, fetched


def pretrained_name(model: str) -> str:
    """Return ARCHITECTURE.TAG of the weights that `weights: pretrained` stands for.

    >>> pretrained_name("resnet18")
    'resnet18.a1_in1k'
    """
    config = timm_config(model)
    return f"{config.architecture}.{config.tag}".rstrip(".")


def pretrained_arguments(model: str) -> dict[str, Any]:
    """Return what `timm.create_model` takes to load a model's pretrained weights.

    Raises:
        InputError: see `fetched`, or the fetched file is not what it was.

    """
    entry = fetched(pretrained_name(model))
    overlay = {} if entry is None else {"pretrained_cfg_overlay": {"file": str(checked(entry))}}
    return {"pretrained": True, **overlay}


def download_pretrained(model: str, folder: Path) -> Path:
    """Download the file that timm would load for a model.

    Args:
        model: timm's name.
        folder: where the file goes; caches of the user stay as they are.

    Raises:
        InputError: timm has no weights for the model, or they cannot be downloaded.

    """
    config = timm_config(model)
    name = pretrained_name(model)
    try:
        if config.file:
            return Path(config.file)
        if config.hf_hub_id:
            return _from_hub(config.hf_hub_id, config.hf_hub_filename, folder)
        if config.url:
            from timm.models._hub import download_cached_file

            return Path(download_cached_file(config.url, check_hash=True, cache_dir=folder))
    except Exception as error:
        # Of sockets, TLS, HTTP, the hub and the disk.
        said = one_line(error, 300) or type(error).__name__
        raise InputError(f"{name} cannot be downloaded: {said}") from error
    raise InputError(f"timm has no pretrained weights for {model}; expected weights: FILE or none")


def _from_hub(repository: str, filename: str | None, folder: Path) -> Path:
    """Download a file of a hub repository, its safetensors if there are any, as timm does."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    from timm.models._hub import HF_WEIGHTS_NAME, _get_safe_alternatives, hf_split

    name, revision = hf_split(repository)
    wanted = filename or HF_WEIGHTS_NAME
    for each in _get_safe_alternatives(wanted):
        with contextlib.suppress(EntryNotFoundError):
            return Path(hf_hub_download(name, each, revision=revision, local_dir=folder))
    return Path(hf_hub_download(name, wanted, revision=revision, local_dir=folder))
