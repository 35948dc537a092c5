"""The words of exports, without torch."""

from enum import StrEnum


class ExportFormat(StrEnum):
    """A format in which a segmenter runs without this package."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"


SUFFIXES = {ExportFormat.ONNX: ".onnx", ExportFormat.TORCHSCRIPT: ".pt"}

PIXELS_INPUT, MASK_OUTPUT, PROBABILITIES_OUTPUT = "pixels", "mask", "probabilities"
"""The names of the input and of the two outputs."""
