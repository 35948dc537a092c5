"""The mean and std that lie with a weights file, told without loading torch."""

import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from wsss_core.errors import InputError


class InputNormalisation(NamedTuple):
    """What a network's images are normalised with, RGB in 0..1.

    Attributes:
        mean: is subtracted from each channel.
        std: divides each channel then.

    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def normalisation_of_file(file: str | Path, model: str) -> InputNormalisation | None:
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
        about = config.get("pretrained_cfg")
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
        return InputNormalisation(mean, std)
    return None


def _three(value: Any) -> tuple[float, float, float] | None:
    value = _json(value) if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in value):
        return None
    red, green, blue = map(float, value)
    return red, green, blue


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
