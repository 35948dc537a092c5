"""Procedural scenes a second on one core, beside decoding the same scenes from PNG in memory.

The work, counted for one scene of S x S pixels, P = S * S: about 15 fields of P numbers are built
by two small matrix products each (an octave of n cells: 2 S n (n + S) operations), each of about 10
layers is painted over at most 3 P values (three operations and three passes over memory each), and
P normal numbers are drawn for the sensor. At 64 px (P = 4,096) all of it fits the first-level
caches and the fixed cost of some 500 NumPy calls is most of the time; at 256 px (P = 65,536) it
is arithmetic and memory traffic.

Two figures stand beside the result. Decoding a PNG of the scene is what a data set on disk would
cost instead. Drawing the sensor noise alone, P normal numbers, is a floor for any such generator.

    python benchmarks/scenes.py                        # 64, 128 and 256 px, about 10 s
    python benchmarks/scenes.py --scenes 200 --json scenes.json
"""

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from wsss_core.data.scenes.noise import stream
from wsss_core.data.scenes.scene import SceneSettings, render_scene


def rate(work: Callable[[int], object], count: int, repeats: int) -> float:
    """Works a second of processor time, the best of some repeats."""
    work(0)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for index in range(count):
            work(index)
        best = min(best, time.process_time() - start)
    return count / best


def measure(size: int, count: int, repeats: int) -> dict[str, float]:
    settings = SceneSettings(size=size)
    files = []
    for index in range(count):
        file = io.BytesIO()
        Image.fromarray(render_scene(settings, index).image).save(file, "png")
        files.append(file.getvalue())
    return {
        "size": size,
        "scenes": rate(lambda index: render_scene(settings, index), count, repeats),
        "png_decoded": rate(
            lambda index: np.asarray(Image.open(io.BytesIO(files[index]))), count, repeats
        ),
        "sensor_noise_alone": rate(
            lambda index: stream(0, index, "sensor").standard_normal((size, size), np.float32),
            count,
            repeats,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--scenes", type=int, default=600, help="at 64 px; fewer when larger")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()

    rows = []
    print("a second and core:  size    scenes   PNG decoded   sensor noise alone")
    for size in arguments.sizes:
        count = max(10, arguments.scenes * 64 // size)
        row = measure(size, count, arguments.repeats)
        rows.append(row)
        print(
            f"{size:24d}{row['scenes']:10.0f}{row['png_decoded']:14.0f}"
            f"{row['sensor_noise_alone']:21.0f}"
        )
    if arguments.json:
        record = {
            "benchmark": "scenes",
            "unit": "a second of processor time, one core",
            "machine": platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
