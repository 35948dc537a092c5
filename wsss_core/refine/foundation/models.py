"""SAM and CLIP checkpoints by the name of a folder or of a hub repository, safely and offline.

Whether a checkpoint can be had is found out from file names and its config.json alone, before
anything is trained. Weights are read from safetensors only, and no code of a repository is run.
With HF_HUB_OFFLINE=1 nothing but the local cache is asked.
"""

import importlib.util
import json
import re
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsss_core.errors import InputError, as_input_error
from wsss_core.fetched_weights import checked, fetched

FoundationKind = Literal["sam", "clip"]

EXTRA = "pip install 'wsss-studies[foundation]'"

HUB_TIMEOUT = 4.0
"""Seconds that a plan waits for the hub."""

_READ = ["*.json", "*.txt", "model*.safetensors"]
_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER = ("tokenizer.json", "vocab.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class _Kind:
    """The files and classes of a kind of checkpoint.

    Attributes:
        title: what it is called in errors.
        classes: by model_type of config.json, the transformers classes of model and processor.
        parts: beside config and weights, groups of files of which one has to be there.

    """

    title: str
    classes: dict[str, tuple[str, str]]
    parts: tuple[tuple[str, ...], ...]

    @property
    def expected(self) -> str:
        names = [_CONFIG, _WEIGHTS, *(part[0] for part in self.parts)]
        return f"expected a {self.title} checkpoint saved by transformers ({', '.join(names)})"


_KINDS: dict[str, _Kind] = {
    # SAM 2's published checkpoints are of the video model, which holds the image model.
    "sam": _Kind(
        "SAM or SAM 2",
        {
            "sam": ("SamModel", "SamProcessor"),
            "sam2": ("Sam2Model", "Sam2Processor"),
            "sam2_video": ("Sam2Model", "Sam2Processor"),
        },
        (_PROCESSOR,),
    ),
    "clip": _Kind("CLIP", {"clip": ("CLIPModel", "CLIPProcessor")}, (_PROCESSOR, _TOKENIZER)),
}


def check_foundation(kind: FoundationKind, weights: str | Path | None) -> None:
    """Find out without loading them whether weights can be had, in `HUB_TIMEOUT` at most.

    Args:
        kind: "sam" or "clip".
        weights: a folder written by `save_pretrained`, or a hub name ("facebook/sam-vit-base"). Of
            a hub name, config.json is fetched if it is neither in the cache nor in the folder of
            fetched weights.

    Raises:
        InputError: the extra is not installed, there is no such folder or repository, a file is
            missing (it is named), config.json is one of another kind of model, or the hub does not
            answer in time.

    """
    weights = _given(kind, weights)
    if _source(kind, weights)[1] or _cached(str(weights), _CONFIG):
        _model_type(kind, weights)
        return
    # The hub's client tries an unreachable network again and again, and has no limit of its own.
    asked: Future[str] = Future()

    def ask() -> None:
        try:
            asked.set_result(_model_type(kind, weights))
        except BaseException as error:
            asked.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        asked.result(HUB_TIMEOUT)
    except TimeoutError:
        raise InputError(
            f"refiner {kind}: {weights} is neither a folder nor in the local cache, and the hub "
            f"did not answer within {HUB_TIMEOUT:g} s; {_remedy(kind)}"
        ) from None


def hub_name(weights: object) -> str | None:
    """Return weights that are a hub's name; None if they are none, or there is such a folder."""
    if not isinstance(weights, str) or not _HUB_NAME.fullmatch(weights):
        return None
    return None if Path(weights).exists() else weights


def download_foundation(kind: str, name: str, folder: Path) -> Path:
    """Download the files of a hub repository that `load_foundation` reads; return their folder.

    Args:
        kind: "sam" or "clip".
        name: the repository.
        folder: where the files go.

    Raises:
        InputError: it cannot be downloaded, or is no checkpoint of the kind.

    """
    from huggingface_hub import snapshot_download

    kept = folder / "kept"
    try:
        found = Path(snapshot_download(name, allow_patterns=_READ, local_dir=folder / "all"))
        kept.mkdir()
        for file in found.iterdir():
            if file.is_file():
                file.rename(kept / file.name)
    except Exception as error:
        raise InputError(f"{name} cannot be downloaded: {_first_line(error)}") from error
    _model_type(kind, kept)
    return kept


def _remedy(kind: str) -> str:
    return (
        f"`wsss weights fetch STUDY` fetches it where there is a network (refiners.{kind}.weights)"
    )


def load_foundation(
    kind: FoundationKind, weights: str | Path | None, device: str = "cpu"
) -> tuple[Any, Any]:
    """Load a checkpoint in float32 and evaluation mode.

    Args:
        kind: "sam" or "clip".
        weights: see `check_foundation`; a hub name is downloaded unless it is in the cache, and the
            hub is not asked whether the cached revision is still the newest.
        device: where the model goes.

    Returns:
        The model and its processor, of the classes SamModel and SamProcessor, Sam2Model and
        Sam2Processor, or CLIPModel and CLIPProcessor.

    Raises:
        InputError: see `check_foundation`; also files that cannot be read, and weights that lack
            some of the model's parameters or have others of them in another shape.

    """
    weights = _given(kind, weights)
    model_type = _model_type(kind, weights)
    import torch
    import transformers

    source, is_folder = _source(kind, weights)
    if is_folder and hub_name(weights) is not None:
        checked(Path(source))
    local = is_folder or _is_cached(kind, source)
    model_class, processor_class = _KINDS[kind].classes[model_type]
    try:
        processor = getattr(transformers, processor_class).from_pretrained(
            source, local_files_only=local
        )
        model, found = getattr(transformers, model_class).from_pretrained(
            source,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=local,
            output_loading_info=True,
        )
    except Exception as error:
        # The library and the readers below it raise many classes; the reason is in the first line.
        raise InputError(
            f"refiner {kind}: {_named(kind, weights)} cannot be loaded: {_first_line(error)}; "
            f"{_KINDS[kind].expected}"
        ) from error
    if missing := sorted(found["missing_keys"]):
        rest = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
        raise InputError(
            f"refiner {kind}: {_named(kind, weights)} lacks the parameters "
            f"{', '.join(missing[:3])}{rest}; {_KINDS[kind].expected}"
        )
    return model.eval().to(device), processor


def files_of_weights(folder: Path) -> list[Path]:
    """Return the files of a folder of weights, sorted by name; their digests are its identity."""
    return sorted(file for file in folder.iterdir() if file.is_file())


def _given(kind: str, weights: str | Path | None) -> str | Path:
    """Return the weights if any were given and there is what loads them."""
    if kind not in _KINDS:
        raise InputError(f"foundation model {kind!r}: expected one of {', '.join(_KINDS)}")
    if weights is None:
        raise InputError(f"refiner {kind} needs weights: a folder or a hub's name")
    if importlib.util.find_spec("transformers") is None:
        raise InputError(f"refiner {kind}: needs the package transformers; {EXTRA}")
    return weights


def _source(kind: str, weights: str | Path) -> tuple[str, bool]:
    """Return what from_pretrained takes, and whether it is a folder."""
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return str(folder), True
    said = f"refiner {kind}: {_named(kind, weights)}"
    if folder.is_file():
        raise InputError(f"{said} is a file; {_KINDS[kind].expected} in a folder")
    if isinstance(weights, Path) or not _HUB_NAME.fullmatch(weights):
        raise InputError(f"{said} does not exist; {_KINDS[kind].expected}")
    with as_input_error(f"refiners.{kind}.weights", InputError):
        entry = fetched(weights)
    return (weights, False) if entry is None else (str(entry), True)


def _named(kind: str, weights: str | Path) -> str:
    is_hub_name = not isinstance(weights, Path) and _HUB_NAME.fullmatch(weights)
    return str(weights) if is_hub_name and not Path(weights).exists() else f"folder {weights}"


def _model_type(kind: str, weights: str | Path) -> str:
    """Return the model_type of a checkpoint of which every file is there."""
    source, is_folder = _source(kind, weights)
    expected = _KINDS[kind].expected
    said = f"refiner {kind}: {_named(kind, weights)}"
    config = Path(source) / _CONFIG if is_folder else _hub_config(kind, source)
    if not config.is_file():
        raise InputError(f"{said} has no {_CONFIG}; {expected}")

    def has(name: str) -> bool:
        return (Path(source) / name).is_file() if is_folder else _hub_has(source, name)

    try:
        model_type = json.loads(config.read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{said}: {_CONFIG} cannot be read ({_first_line(error)}); {expected}"
        ) from error
    if model_type not in _KINDS[kind].classes:
        known = ", ".join(_KINDS[kind].classes)
        raise InputError(
            f"{said}: {_CONFIG} says model_type {model_type!r}, expected one of {known}; {expected}"
        )
    for part in ((_WEIGHTS, _INDEX), *_KINDS[kind].parts):
        if not any(has(name) for name in part):
            pickled = part[0] == _WEIGHTS and has("pytorch_model.bin")
            why = " (pytorch_model.bin is a pickle, which is not read)" if pickled else ""
            raise InputError(f"{said} has no {part[0]}{why}; {expected}")
    if is_folder and not has(_WEIGHTS):
        for shard in _shards(Path(source) / _INDEX, said):
            if not has(shard):
                raise InputError(f"{said} has no {shard}, which {_INDEX} names; {expected}")
    return str(model_type)


def _shards(index: Path, said: str) -> list[str]:
    kinds = OSError, ValueError, KeyError, TypeError, AttributeError
    with as_input_error(f"{said}: {index.name} cannot be read", *kinds):
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))


def _hub_config(kind: str, name: str) -> Path:
    """Return config.json of a hub repository, from the cache or fetched."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if cached := _cached(name, _CONFIG):
        return cached
    said, expected = f"refiner {kind}: {name}", _KINDS[kind].expected
    try:
        return Path(hf_hub_download(name, _CONFIG))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{said} is neither a folder nor in the local cache, and the hub cannot be reached; "
            f"{expected}, in a folder or in the cache; {_remedy(kind)}"
        ) from error
    except EntryNotFoundError as error:
        raise InputError(f"{said} has no {_CONFIG}; {expected}") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{said} is neither a folder nor a repository of the hub that can be read; {expected}"
        ) from error
    except Exception as error:
        raise InputError(f"{said} cannot be read: {_first_line(error)}; {expected}") from error


def _hub_has(name: str, file: str) -> bool:
    from huggingface_hub import constants, file_exists

    if _cached(name, file):
        return True
    try:
        return not constants.HF_HUB_OFFLINE and file_exists(name, file)
    except Exception:
        # What is in the cache suffices; a hub that cannot be reached adds nothing to it.
        return False


def _cached(name: str, file: str) -> Path | None:
    """Return a hub repository's file in the cache, asked first: an unreachable hub takes long."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None


def _is_cached(kind: str, name: str) -> bool:
    parts = ((_CONFIG,), (_WEIGHTS,), *_KINDS[kind].parts)
    return all(any(_cached(name, file) for file in part) for part in parts)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
