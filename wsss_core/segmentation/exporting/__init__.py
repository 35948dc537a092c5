"""Segmenters as files that run without this package: ONNX and TorchScript."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.segmentation.exporting.latency import Latency, measure_latency
    from wsss_core.segmentation.exporting.names import SUFFIXES, ExportFormat
    from wsss_core.segmentation.exporting.onnx_file import onnx_facts, read_onnx
    from wsss_core.segmentation.exporting.torchscript_file import read_torchscript
    from wsss_core.segmentation.exporting.wrapping import PixelSegmenter
    from wsss_core.segmentation.exporting.writing import (
        TOLERANCE,
        ExportRecord,
        export_segmenter,
    )

__all__ = [
    "SUFFIXES",
    "TOLERANCE",
    "ExportFormat",
    "ExportRecord",
    "Latency",
    "PixelSegmenter",
    "export_segmenter",
    "measure_latency",
    "onnx_facts",
    "read_onnx",
    "read_torchscript",
]

__getattr__ = lazy_exports(__name__, __file__)
