"""Export a segmenter, read the file back, compare it with the torch model, and time both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wsss_core.backbones import evaluating
from wsss_core.errors import InputError, as_input_error
from wsss_core.segmentation.exporting.latency import Latency, measure_latency
from wsss_core.segmentation.exporting.names import ExportFormat
from wsss_core.segmentation.exporting.onnx_file import Run, read_onnx, require_onnx, write_onnx
from wsss_core.segmentation.exporting.torchscript_file import (
    read_torchscript,
    run_of,
    write_torchscript,
)
from wsss_core.segmentation.exporting.wrapping import (
    PixelSegmenter,
    check_exportable,
    facts_of,
)
from wsss_core.segmentation.segmenter import Segmenter
from wsss_core.whole_files import whole_file

TOLERANCE = 1e-4
"""The largest difference of a probability between the file and the torch model."""


@dataclass(frozen=True)
class ExportRecord:
    """What an export was compared and timed with.

    Attributes:
        file: the exported file.
        difference: the largest difference of a probability between it and the torch model.
        pixels: how many pixels were compared.
        file_latency: of the file, on the CPU.
        torch_latency: of the torch model, on the CPU.
        image_size: side of the images in pixels.

    """

    file: Path
    difference: float
    pixels: int
    file_latency: Latency
    torch_latency: Latency
    image_size: int

    def describe(self) -> list[str]:
        """Return two lines: the comparison, and the latency."""
        times, own = self.file_latency, self.torch_latency
        return [
            f"read back: probabilities of {self.pixels} pixels differ by at most "
            f"{self.difference:.1e} from the torch model's (allowed {TOLERANCE:.0e})",
            f"latency of one image of {self.image_size} px: {1000 * times.seconds:.1f} ms "
            f"({1000 * times.fastest:.1f} to {1000 * times.slowest:.1f}), torch model "
            f"{1000 * own.seconds:.1f} ms; median of {times.repeats}, CPU, {times.threads} threads",
        ]


def export_segmenter(
    segmenter: Segmenter, file: Path, to: ExportFormat | str = ExportFormat.ONNX
) -> ExportRecord:
    """Write a segmenter with its preprocessing as a file that runs without this package.

    The file takes uint8 [N, S, S, 3] (RGB, any N; S is the segmenter's image size) and gives
    classes and probabilities, see `PixelSegmenter`. It is read back and compared before it gets its
    name.

    Args:
        segmenter: of `load_segmenter` or `build_segmenter`, on the CPU.
        file: where; replaced if it exists.
        to: the format.

    Raises:
        InputError: a segmenter that cannot be exported, a package that is not installed, a file
            that cannot be written, or one whose probabilities differ by more than `TOLERANCE`.

    """
    if to not in list(ExportFormat):
        raise InputError(f"format {to!r}: expected {' or '.join(ExportFormat)}")
    check_exportable(segmenter)
    if to == ExportFormat.ONNX:
        require_onnx()
    size, threads = segmenter.image_size, torch.get_num_threads()
    with evaluating(segmenter), as_input_error(f"{file}: cannot be written", OSError):
        model = PixelSegmenter(segmenter).eval()
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as opened:
            unfinished = Path(opened.name)
            if to == ExportFormat.ONNX:
                write_onnx(model, unfinished, facts_of(segmenter))
                run = read_onnx(unfinished, threads=threads)
            else:
                write_torchscript(model, unfinished, facts_of(segmenter))
                run = read_torchscript(unfinished)
            images = _test_images(size)
            difference = _compare(run, run_of(model), images, file)
        return ExportRecord(
            file=file,
            difference=difference,
            pixels=len(images) * size**2,
            file_latency=measure_latency(run, size, threads=threads),
            torch_latency=measure_latency(run_of(model), size, threads=threads),
            image_size=size,
        )


def _test_images(size: int) -> NDArray[np.uint8]:
    """Return three images uint8 [3, S, S, 3]: noise, soft colours, and a bright square on black."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (size, size, 3), np.uint8)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
    soft = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    square = np.zeros((size, size, 3), np.uint8)
    square[size // 4 : size // 2, size // 4 : size // 2] = 255
    return np.stack([noise, soft, square])


def _compare(run: Run, own: Run, images: NDArray[np.uint8], file: Path) -> float:
    """Return the largest difference of a probability; raise if it is beyond the tolerance."""
    largest = 0.0
    for batch in (images[:1], images[1:]):  # other numbers of images than the example's
        mask, probabilities = run(batch)
        expected_mask, expected = own(batch)
        largest = max(largest, float(np.abs(probabilities - expected).max()))
        ordered = np.sort(expected, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * TOLERANCE
        if not largest <= TOLERANCE or (mask != expected_mask)[clear].any():
            raise InputError(
                f"{file}: not written: read back, its probabilities differ by {largest:.1e} from "
                f"the torch model's; expected at most {TOLERANCE:.0e}"
            )
    return largest
