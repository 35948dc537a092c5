"""Saliency by a model of yours: an ONNX file, or a folder that transformers saved.

Neither is loaded before it is asked. No code of a model is run, and nothing is downloaded.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_core.errors import InputError, as_input_error
from wsss_core.refine.foundation.models import files_of_weights

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)

Detector = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From images uint8 [n, H, W, 3] to saliency float32 [n, h, w] of 0 to 1."""


def saliency_files(model: str | Path) -> list[Path]:
    """Return the files of a model; their digests are its identity.

    Raises:
        InputError: there is no such file or folder, it is of another kind, or the package that
            reads it is not installed.

    """
    path = Path(model).expanduser()
    said = f"refiner saliency: model {path}"
    if path.is_file() and path.suffix == ".onnx":
        if importlib.util.find_spec("onnxruntime") is None:
            raise InputError(f"{said} needs onnxruntime; pip install 'wsss-studies[export]'")
        return [path]
    if not path.is_dir():
        raise InputError(f"{said}: expected a file *.onnx, or a folder that transformers saved")
    if importlib.util.find_spec("transformers") is None:
        raise InputError(f"{said} needs transformers; pip install 'wsss-studies[foundation]'")
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        if not (path / name).is_file():
            raise InputError(
                f"{said} has no {name}; expected a model for semantic segmentation with one or two "
                "labels, saved by transformers with its image processor"
            )
    with as_input_error(f"{said}: config.json", ValueError, AttributeError):
        labels = json.loads((path / "config.json").read_text()).get("id2label", {0: "", 1: ""})
    if len(labels) not in (1, 2):
        raise InputError(
            f"{said} has {len(labels)} labels; expected one (salient), or two (background, salient)"
        )
    return files_of_weights(path)


def load_detector(model: str | Path, device: str = "cpu") -> Detector:
    """Load a model.

    Args:
        model: an ONNX file: its input is RGB [n, 3, h, w], less ImageNet's mean and divided by its
            standard deviation, and its first output [n, 1, h, w] or [n, h, w] of 0 to 1. Or a
            folder: a model of transformers for semantic segmentation; the sigmoid of its one label,
            or the softmax of the second of two, is the saliency.
        device: where a model of transformers goes; ONNX runs on CPUs.

    Raises:
        InputError: see `saliency_files`; a model that cannot be loaded, or whose outputs are
            others.

    """
    files = saliency_files(model)
    with as_input_error(f"refiner saliency: model {model} cannot be loaded", Exception):
        if len(files) == 1 and files[0].suffix == ".onnx":
            return _onnx_detector(files[0])
        return _transformers_detector(Path(model).expanduser(), device)


def _onnx_detector(file: Path) -> Detector:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    sides = [side if isinstance(side, int) else None for side in given.shape[2:]]

    def detect(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = (side or own for side, own in zip(sides, images.shape[1:3], strict=True))
        found = []
        for image in images:  # a file's batch may be fixed to one image
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            pixels = (np.asarray(resized, np.float32) / 255 - _MEAN) / _STD
            output = session.run(None, {given.name: pixels.transpose(2, 0, 1)[None]})[0]
            found.append(np.asarray(output, np.float32))
        maps = np.concatenate(found)
        maps = maps[:, 0] if maps.ndim == 4 and maps.shape[1] == 1 else maps
        if maps.ndim != 3 or not (maps.min() >= -1e-4 and maps.max() <= 1 + 1e-4):
            raise InputError(
                f"refiner saliency: {file} gives {list(maps.shape)} with values of "
                f"{maps.min():.4g} to {maps.max():.4g}; expected [n, 1, h, w] of 0 to 1"
            )
        return maps.clip(0, 1)

    return detect


def _transformers_detector(folder: Path, device: str) -> Detector:
    import torch
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForSemanticSegmentation.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    model.eval().to(device)

    def detect(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = processor(images=list(images), return_tensors="pt")["pixel_values"].to(device)
        with torch.no_grad():
            logits = model(pixel_values=pixels).logits
        salient = logits[:, 0].sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1]
        return np.asarray(salient.float().cpu())

    return detect
