"""How long a segmenter takes for one image."""

import statistics
import time
from dataclasses import dataclass

import numpy as np

from wsss_core.segmentation.exporting.onnx_file import Run

REPEATS = 20  # timed runs; the median of them is told
_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """The time of a run, from the pixels of one image in memory to its mask.

    Attributes:
        seconds: the median.
        fastest: of the runs.
        slowest: of the runs.
        repeats: how many runs.
        threads: how many threads each run used.

    """

    seconds: float
    fastest: float
    slowest: float
    repeats: int
    threads: int


def measure_latency(run: Run, size: int, *, threads: int, repeats: int = REPEATS) -> Latency:
    """Time runs of one image.

    Args:
        run: what is timed.
        size: side of the image in pixels.
        threads: that `run` uses; stated, not set.
        repeats: how many runs.

    """
    pixels = np.zeros((1, size, size, 3), np.uint8)
    for _ in range(_WARM_UP):
        run(pixels)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run(pixels)
        times.append(time.perf_counter() - began)
    return Latency(statistics.median(times), min(times), max(times), repeats, threads)
