"""Segmenters in files: what was trained, with the settings that build the rest, and a digest.

A file is safetensors. It holds every parameter that can have a gradient and every buffer. Frozen
parameters, such as SAM's image encoder, are not stored again; the file holds their digest, so that
they are compared when the segmenter is built anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from wsss_core.errors import InputError, as_input_error
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.segmentation.building import build_segmenter
from wsss_core.segmentation.segmenter import Segmenter
from wsss_core.segmentation.settings import SegmenterSettings
from wsss_core.whole_files import ZEROS, fill_digest, holds_digest, write_whole

_DIGEST = b'"digest":"'
_ABOUT = "segmenter"


class TrainedPart:
    """What of a segmenter training can change, as a state that is saved and restored.

    Args:
        segmenter: it is read and changed in place.

    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def names(self) -> list[str]:
        """Return the names of the tensors: trainable parameters and saved buffers."""
        frozen = {n for n, p in self._segmenter.named_parameters() if not p.requires_grad}
        return [name for name in self._segmenter.state_dict() if name not in frozen]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        state = self._segmenter.state_dict()
        return {name: state[name] for name in self.names()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take these tensors over.

        Raises:
            RuntimeError: one is missing, has another shape, or is of no such segmenter.

        """
        names = set(self.names())
        if names != set(state):
            first = sorted(names ^ set(state))[0]
            raise RuntimeError(f"{len(names)} tensors expected, {len(state)} found; {first}")
        self._segmenter.load_state_dict(dict(state), strict=False)


def save_segmenter(segmenter: Segmenter, file: Path) -> None:
    """Write what was trained of a segmenter from `build_segmenter`, whole and through to the disk.

    Raises:
        InputError: the segmenter was put together by hand, so nothing would build it anew.
        AssertionError: a parameter that has a gradient would not be in the file.

    """
    if segmenter.settings is None:
        raise InputError("a segmenter is saved with its settings; expected one of build_segmenter")
    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in TrainedPart(segmenter).state_dict().items()
    }
    about = {
        "settings": asdict(segmenter.settings),
        "classes": segmenter.classes,
        "image_size": segmenter.image_size,
        "frozen": frozen_digest(segmenter),
        "plugin_version": _version(segmenter.settings),
    }
    if segmenter.class_names:
        if len(segmenter.class_names) != segmenter.classes:
            raise InputError(
                f"{len(segmenter.class_names)} names for {segmenter.classes} classes of a segmenter"
            )
        about["class_names"] = list(segmenter.class_names)
    metadata = {_ABOUT: json.dumps(about, sort_keys=True), "digest": ZEROS.decode()}
    content = fill_digest(save(state, metadata), _DIGEST)
    check_holds_gradients(segmenter, load(content))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)


def check_holds_gradients(segmenter: Segmenter, state: Mapping[str, Tensor]) -> None:
    """Raise AssertionError unless a state holds every parameter that has or can have a gradient."""
    for name, parameter in segmenter.named_parameters():
        if (parameter.requires_grad or parameter.grad is not None) and name not in state:
            raise AssertionError(f"{name} is trained but is not saved")


def load_segmenter(file: Path, *, device: str = "cpu") -> Segmenter:
    """Build a segmenter anew from a file of `save_segmenter`; in evaluation mode.

    Frozen parameters come from where they came from at first, such as SAM's folder.

    Raises:
        InputError: no such file, one that is corrupt or of another kind, or frozen parameters or a
            plug-in that are not those it was trained with.

    """
    with as_input_error(f"segmenter file {file}", OSError):
        content = Path(file).read_bytes()
    about = _about(content, file)
    with as_input_error(f"segmenter file {file}", TypeError, KeyError):
        settings = SegmenterSettings(**about["settings"])
        classes, image_size = about["classes"], about["image_size"]
    if about["plugin_version"] != _version(settings):
        raise InputError(
            f"segmenter file {file}: made with version {about['plugin_version']} of "
            f"{settings.model}, which is {_version(settings)} now"
        )
    # Where nothing is frozen the file holds every number, and the weights may be gone.
    needed = settings if about["frozen"] else _without_weights(settings)
    with torch.random.fork_rng(devices=[]):
        segmenter = build_segmenter(needed, classes=classes, image_size=image_size)
    segmenter.settings, segmenter.class_names = settings, tuple(about.get("class_names", ()))
    if frozen_digest(segmenter) != about["frozen"]:
        raise InputError(
            f"segmenter file {file}: {settings.weights} is not what it was trained on; its frozen "
            "parameters differ"
        )
    with as_input_error(f"segmenter file {file}", RuntimeError, SafetensorError):
        TrainedPart(segmenter).load_state_dict(load(content))
    return segmenter.to(device).eval()


def frozen_digest(segmenter: Segmenter) -> str:
    """Return a digest of the parameters that are not trained; "" if there are none."""
    digest, count = hashlib.blake2b(digest_size=16), 0
    for name, parameter in segmenter.named_parameters():
        if not parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
            count += 1
    return digest.hexdigest() if count else ""


def _without_weights(settings: SegmenterSettings) -> SegmenterSettings:
    """Return settings that build the same network at random: all its numbers are in the file."""
    given = {**asdict(settings), "weights": "none", "partial_weights": False}
    return SegmenterSettings(**given)


def _version(settings: SegmenterSettings) -> str:
    return plugin_version("segmenter", settings.model) if is_plugin(settings.model) else ""


def _about(content: bytes, file: Path) -> dict[str, Any]:
    kept = holds_digest(content, _DIGEST)
    if kept is False:
        raise InputError(f"segmenter file {file}: is corrupt; its content differs from its digest")
    try:
        length = int.from_bytes(content[:8], "little")
        about: dict[str, Any] = json.loads(
            json.loads(content[8 : 8 + length])["__metadata__"][_ABOUT]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"segmenter file {file}: expected a file of save_segmenter") from error
    if kept is None:
        raise InputError(f"segmenter file {file}: has lost its digest")
    return about
