"""Files of weights: safetensors or a checkpoint of PyTorch, of which only tensors are read."""

import io
import json
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load
from torch import Tensor

from wsss_core.data.file_hashes import content_hash, open_regular
from wsss_core.errors import InputError, one_line

NESTS = (
    "state_dict",
    "model",
    "state_dict_ema",
    "model_ema",
    "model_state_dict",
    "teacher",
    "student",
    "encoder",
    "network",
    "net",
    "module",
    "backbone",
)
"""Under which names a checkpoint keeps its tensors. Of several the first is read."""

WRAPPERS = ("_orig_mod.", "module.")
"""What `torch.compile` and data parallelism put before every name of a tensor."""


class Normalisation(NamedTuple):
    """What a network's images are normalised with, RGB in 0..1.

    Attributes:
        mean: is subtracted from each channel.
        std: divides each channel then.

    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def read_weights(file: str | Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read a state dict; only tensors are read, nothing in the file is executed.

    The file is read once, so digest and tensors are of the same bytes.

    Args:
        file: .safetensors, or a torch checkpoint (.pth, .pt, .bin), flat or under one of `NESTS`.
        digest: the digest that the file must have, see `wsss_core.data.file_hashes`; None: any.

    Returns:
        The tensors by name, without the prefixes of `WRAPPERS`.

    Raises:
        InputError: the file is missing, empty or a folder, is no weights file, holds more than
            tensors, or has another digest.

    """
    file = Path(file)
    _check_there(file)
    try:
        with open_regular(file) as opened:
            content = opened.read()
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"weights file {file} cannot be read: {one_line(error)}") from error
    if digest is not None and (found := content_hash(content)) != digest:
        raise InputError(
            f"weights file {file} changed since the plan: its digest was {digest} and is "
            f"{found}; run again to plan with the new file"
        )
    state = _unnested(_loaded(file, content))
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(
            f"weights file {file} holds no state dict of tensors, neither by itself nor under one "
            f"of {', '.join(NESTS)}"
        )
    return {_unwrapped(name): value for name, value in state.items()}


def _check_there(file: Path) -> None:
    """Raise unless there is a file with something in it."""
    if file.is_dir():
        held = sorted(p.name for p in file.iterdir() if p.suffix in _SUFFIXES)
        named = f"; it holds {', '.join(held[:3])}" if held else ""
        raise InputError(f"weights file {file} is a folder, expected a file{named}")
    if not file.exists():
        raise InputError(f"weights file {file} does not exist")
    if file.is_file() and not file.stat().st_size:
        raise InputError(f"weights file {file} cannot be read: it is empty")


_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


def _loaded(file: Path, content: bytes) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Many classes; safetensors' own derives from Exception alone. torch's go on for many lines.
        others = _other_classes(content) if file.suffix != ".safetensors" else []
        if others:
            raise InputError(_how_to_save(file, others, content)) from error
        said = _COLOURS.sub("", (str(error).splitlines() or [""])[0]) or type(error).__name__
        raise InputError(f"weights file {file} cannot be read: {one_line(said)}") from error


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _other_classes(content: bytes) -> list[str]:
    """Return the classes in a checkpoint that PyTorch does not read without running code."""
    try:
        return sorted(
            torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))  # type: ignore[arg-type]
        )
    except Exception:
        return []  # the file is no checkpoint, which its reader has said


def _how_to_save(file: Path, others: list[str], content: bytes) -> str:
    nest = next((name for name in NESTS if name in _words(content)), None)
    kept = f"state[{nest!r}]" if nest else "state"
    tensors_only = str(file.with_name(f"{file.stem}_tensors.pth"))
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return (
        f"weights file {file} cannot be read: beside tensors it holds {named}, and reading those "
        "may run code; if you trust the file, save its tensors alone: import torch; "
        f"state = torch.load({str(file)!r}, map_location='cpu', weights_only=False); "
        f"torch.save({kept}, {tensors_only!r})"
    )


def _words(content: bytes) -> set[str]:
    """Return the texts in a checkpoint's pickle, names of its tensors and folders among them."""
    pickled = content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.read(inner[0]) if inner else b""
    words = set()
    try:
        for _, argument, _ in pickletools.genops(pickled):
            if isinstance(argument, str):
                words.add(argument)
    except ValueError:
        pass  # the file ends within its pickle; what was read before is known
    return words


def _unnested(state: Any) -> Any:
    """Return the mapping that holds the tensors, from however many mappings it lies under."""
    while isinstance(state, Mapping):
        inner = next((name for name in NESTS if isinstance(state.get(name), Mapping)), None)
        if inner is None:
            break
        state = state[inner]
    return state


def _unwrapped(name: str) -> str:
    while wrapper := next((one for one in WRAPPERS if name.startswith(one)), None):
        name = name.removeprefix(wrapper)
    return name


def normalisation_of_file(file: str | Path, model: str) -> Normalisation | None:
    """Return the mean and std that lie with weights, in timm's own form; None if none do.

    They stand in the metadata of a safetensors file, or in the `config.json` beside a file, as in a
    folder downloaded from the Hugging Face hub, under `pretrained_cfg`. A configuration of another
    architecture is passed over.

    Args:
        file: a weights file.
        model: timm's name of the model, with or without a tag.

    Raises:
        InputError: they are there but are not three numbers each.

    """
    file = Path(file)
    found = [_in_metadata(file), _json(_text_of(file.with_name("config.json")))]
    for config in found:
        if not isinstance(config, dict):
            continue
        about = config.get("pretrained_cfg", config)
        about = _json(about) if isinstance(about, str) else about
        if not isinstance(about, dict) or not {"mean", "std"} <= about.keys():
            continue
        named = str(config.get("architecture", about.get("architecture", model)))
        if named.partition(".")[0] != model.partition(".")[0]:
            continue
        mean, std = _three(about["mean"]), _three(about["std"])
        if mean is None or std is None or min(std) <= 0:
            raise InputError(
                f"weights file {file}: the mean and std given with it are "
                f"{about['mean']} and {about['std']}, expected three numbers each"
            )
        return Normalisation(mean, std)
    return None


def _three(value: Any) -> tuple[float, float, float] | None:
    value = _json(value) if isinstance(value, str) else value
    numbers = isinstance(value, list | tuple) and all(
        isinstance(number, int | float) for number in value
    )
    return (
        (float(value[0]), float(value[1]), float(value[2])) if numbers and len(value) == 3 else None
    )


def _in_metadata(file: Path) -> Any:
    """Return the metadata in the head of a safetensors file, None of any other."""
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    with file.open("rb") as opened:
        size = opened.read(8)
        if len(size) < 8 or (length := struct.unpack("<Q", size)[0]) > _LONGEST_HEAD:
            return None
        head = _json(opened.read(length))
    return head.get("__metadata__") if isinstance(head, dict) else None


_LONGEST_HEAD = 100_000_000
"""The most bytes that safetensors allows its head to have."""


def _text_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
