"""Segmenters as ONNX, written by torch's exporter and run by onnxruntime."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.errors import InputError, raised
from wsss_core.segmentation.exporting.names import MASK_OUTPUT, PIXELS_INPUT, PROBABILITIES_OUTPUT
from wsss_core.segmentation.exporting.wrapping import PixelSegmenter

Run = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""From pixels uint8 [N, S, S, 3] to classes and probabilities, see `PixelSegmenter`."""

OPSET = 18


def require_onnx() -> None:
    """Raise InputError unless the packages that write and read ONNX are installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"ONNX needs the package {name}: pip install 'wsss-studies[export]'")


def write_onnx(model: PixelSegmenter, file: Path, facts: dict[str, Any]) -> None:
    """Write a segmenter as one ONNX file; the number of images is free, their size is not.

    Args:
        model: the segmenter, on the CPU.
        file: where.
        facts: kept in the file's metadata.

    Raises:
        InputError: torch cannot express the segmenter in ONNX.

    """
    size = facts["image_size"]
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("images", min=1)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                input_names=[PIXELS_INPUT],
                output_names=[MASK_OUTPUT, PROBABILITIES_OUTPUT],
                dynamic_shapes={"pixels": {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
            )
        except Exception as error:
            raise InputError(
                f"segmenter {facts['model']} over {facts['encoder']}: torch cannot export it as "
                f"ONNX: {raised(error)}; --to torchscript may"
            ) from error
        assert program is not None
        for key, value in facts.items():
            program.model.metadata_props[key] = json.dumps(value)
        program.save(str(file))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's reports from the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def read_onnx(file: Path, *, threads: int) -> Run:
    """Return a function that runs an ONNX file on the CPU.

    Args:
        file: of `write_onnx`.
        threads: that onnxruntime uses.

    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, probabilities = session.run(
            [MASK_OUTPUT, PROBABILITIES_OUTPUT], {PIXELS_INPUT: pixels}
        )
        return mask, probabilities

    return run


def onnx_facts(file: Path) -> dict[str, Any]:
    """Return what a file of `write_onnx` says of itself: image size, classes, input, outputs."""
    import onnx

    properties = onnx.load(str(file), load_external_data=False).metadata_props
    return {entry.key: json.loads(entry.value) for entry in properties}
