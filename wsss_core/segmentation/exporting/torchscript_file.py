"""Segmenters as TorchScript, for C++ and for Python with torch alone."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.errors import InputError, raised
from wsss_core.segmentation.exporting.onnx_file import Run
from wsss_core.segmentation.exporting.wrapping import PixelSegmenter

FACTS = "segmenter.json"  # the name of the text within the file


def write_torchscript(model: PixelSegmenter, file: Path, facts: dict[str, Any]) -> None:
    """Write a segmenter as a traced module.

    Args:
        model: the segmenter, on the CPU.
        file: where.
        facts: kept in the file, under the name `FACTS`.

    Raises:
        InputError: torch cannot trace the segmenter.

    """
    size = facts["image_size"]
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            # Freezing makes constants of parameters, so that no caller has to turn gradients off.
            traced = torch.jit.freeze(torch.jit.trace(model, (example,), check_trace=False))
        except Exception as error:
            raise InputError(
                f"segmenter {facts['model']} over {facts['encoder']}: torch cannot trace it: "
                f"{raised(error)}"
            ) from error
        torch.jit.save(traced, str(file), _extra_files={FACTS: json.dumps(facts).encode()})


def read_torchscript(file: Path) -> Run:
    """Return a function that runs a TorchScript file on the CPU, with torch's threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_of(torch.jit.load(str(file), map_location="cpu").eval())


def run_of(model: torch.nn.Module) -> Run:
    """Return a function that runs a segmenter over pixels on the CPU, with torch's threads."""

    def run(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        with torch.no_grad():
            mask, probabilities = model(torch.from_numpy(pixels))
        return mask.numpy(), probabilities.numpy()

    return run
