"""Weights from a file into a timm model, with every misfit named before anything is trained."""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from wsss_core.data.file_hashes import content_hash, open_regular
from wsss_core.errors import InputError


def read_weights(file: str | Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read a state dict; only tensors are read, nothing in the file is executed.

    The file is read once, so digest and tensors are of the same bytes.

    Args:
        file: .safetensors, or a torch checkpoint (.pth, .pt, .bin), flat or under "state_dict" or
            "model".
        digest: the digest that the file must have, see `wsss_core.data.file_hashes`; None: any.

    Raises:
        InputError: a missing file, one that is neither, or one with another digest.

    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"weights file {file} does not exist")
    try:
        with open_regular(file) as opened:
            content = opened.read()
        if digest is not None and (found := content_hash(content)) != digest:
            raise InputError(
                f"weights file {file} changed since the plan: its digest was {digest} and is "
                f"{found}; run again to plan with the new file"
            )
        if file.suffix == ".safetensors":
            return load(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # Many classes; safetensors' own derives from Exception alone. torch's go on for many lines.
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"weights file {file} cannot be read: {said}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"weights file {file} holds no state dict of tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_weights(
    model: Any, file: str | Path, *, partial: bool = False, digest: str | None = None
) -> list[str]:
    """Load a file into a timm encoder; what the encoder lacks (a head, later stages) is left out.

    A ViT's position embedding of another grid is resampled (bicubic, as timm does).

    Args:
        model: the timm model, an nn.Module; changed in place.
        file: see `read_weights`.
        partial: accept that the file lacks some of the model's parameters; they keep their values.
        digest: the digest that the file must have; None: any.

    Returns:
        The names of the parameters that the file lacks (empty unless `partial`).

    Raises:
        InputError: shapes that differ or parameters that are missing, the first three named; or
            another digest.

    """
    state = read_weights(file, digest)
    own = model.state_dict()
    for key in own:
        # A timm feature extractor calls stage "stages.0" of the full model "stages_0".
        full = key.replace("_", ".", 1)
        if key not in state and full in state:
            state[key] = state[full]
    if "pos_embed" in state and "pos_embed" in own:
        given, wanted = state["pos_embed"].shape, own["pos_embed"].shape
        if len(given) == 3 and given[1] != wanted[1] and given[2] == wanted[2]:
            prefixed = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"],
                new_size=list(model.patch_embed.grid_size),
                num_prefix_tokens=prefixed,
            )
    wrong = [
        f"{key} is {list(state[key].shape)} in the file, {list(value.shape)} in the model"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    if wrong:
        raise InputError(f"weights file {file} does not fit: {_first_three(wrong)}")
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if missing and (not partial or not any(key in state for key in own)):
        raise InputError(
            f"weights file {file} lacks {_first_three(missing)}"
            + ("" if partial else "; set partial_weights: true to start those at random")
        )
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
    return missing


def _first_three(items: list[str]) -> str:
    rest = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return "; ".join(items[:3]) + rest
