"""Files of weights: safetensors or a checkpoint of PyTorch, of which only tensors are read."""

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Return what a file holds; its bytes say of which kind it is, whatever its name."""
    try:
        if content[8:9] == b"{":  # after the length of the header
            return load(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Many classes; safetensors' own derives from Exception alone.
        if others := _other_classes(content):
            raise InputError(_how_to_save(file, others, content)) from error
        said = _what_it_is(content) or _said(error)
        raise InputError(f"weights file {file} cannot be read: {said}") from error


def _what_it_is(content: bytes) -> str:
    """Return what a file is that holds no weights, or why it does not; "" if that is not known."""
    if content.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the file itself"
    start = content[:40].decode("latin-1")
    if start.isascii() and all(letter.isprintable() or letter.isspace() for letter in start):
        return f"it is a text that begins with {start.splitlines()[0]!r}; expected {_EXPECTED}"
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(name.endswith(".npy") for name in archive.namelist()):
                return f"it is an archive of NumPy arrays; expected {_EXPECTED}"
    elif content.startswith(b"PK") or content[8:9] == b"{":
        return "it ends too early or was changed; expected a whole file, so fetch it again"
    return ""


_EXPECTED = "safetensors or a checkpoint of PyTorch"


def _said(error: Exception) -> str:
    """Return an error's first line without colours, and without PyTorch's advice to run code."""
    line = _COLOURS.sub("", (str(error).splitlines() or [""])[0]) or type(error).__name__
    return f"expected {_EXPECTED}" if "weights_only" in line else one_line(line)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _other_classes(content: bytes) -> list[str]:
    """Return the classes in a checkpoint that PyTorch does not read without running code."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
    except Exception:
        return []  # the file is no checkpoint, which its reader has said


def _how_to_save(file: Path, others: list[str], content: bytes) -> str:
    is_object, words = _pickled(content)
    nest = next((name for name in NESTS if name in words and not is_object), None)
    kept = f"state[{nest!r}]" if nest else "state"
    if "_modules" in words and nest != "state_dict":  # a module, which says its tensors itself
        kept += ".state_dict()"
    tensors_only = str(file.with_name(f"{file.stem}_tensors.pth"))
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return (
        f"weights file {file} cannot be read: beside tensors it holds {named}, and reading those "
        "may run code; if you trust the file, save its tensors alone: import torch; "
        f"state = torch.load({str(file)!r}, map_location='cpu', weights_only=False); "
        f"torch.save({kept}, {tensors_only!r})"
    )


def _pickled(content: bytes) -> tuple[bool, set[str]]:
    """Return of a checkpoint's pickle whether it is no mapping, and the texts in it.

    Names of tensors, of folders and of an object's attributes are among the texts.
    """
    pickled = content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.read(inner[0]) if inner else b""
    first, words = "", set[str]()
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in ("GLOBAL", "EMPTY_DICT"):
                first = first or str(argument or "dict")
            if isinstance(argument, str):
                words.add(argument)
    except ValueError:
        pass  # the file ends within its pickle; what was read before is known
    return first not in ("dict", "collections OrderedDict"), words


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


_CLIP_STEM = {
    "embeddings.patch_embedding.": "patch_embed.proj.",
    "pre_layrnorm.": "norm_pre.",
    "post_layernorm.": "norm.",
}
_CLIP_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "self_attn.out_proj": "attn.proj",
}
_CLIP_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def clip_as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the image encoder of a CLIP that transformers saved by timm's names.

    timm knows the names of OpenAI and OpenCLIP alone. The text encoder and what lies behind the
    image encoder's last norm are left out.

    Args:
        state: a file's tensors by name; others than CLIP's are returned as they are.

    """
    prefix = "vision_model."
    if f"{prefix}embeddings.class_embedding" not in state:
        return state
    own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    found = {"cls_token": own.pop("embeddings.class_embedding").reshape(1, 1, -1)}
    if (places := own.pop("embeddings.position_embedding.weight", None)) is not None:
        found["pos_embed"] = places[None]
    for name, value in own.items():
        for theirs, ours in _CLIP_STEM.items():
            if name.startswith(theirs):
                found[name.replace(theirs, ours)] = value
        layer = _CLIP_LAYER.fullmatch(name)
        if layer and layer[2] in _CLIP_BLOCK:
            found[f"blocks.{layer[1]}.{_CLIP_BLOCK[layer[2]]}.{layer[3]}"] = value
        if layer and layer[2] == "self_attn.q_proj":
            parts = [own.get(name.replace("q_proj", f"{one}_proj")) for one in "qkv"]
            if all(one is not None for one in parts):
                joined = torch.cat([one for one in parts if one is not None])
                found[f"blocks.{layer[1]}.attn.qkv.{layer[3]}"] = joined
    return found
