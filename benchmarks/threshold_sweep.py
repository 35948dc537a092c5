"""IoU at every threshold: one score histogram a map, beside the loop over 101 thresholds.

The work, counted for one map of P pixels (512 x 512: P = 262,144) and a mask with a share m of
them:

- The loop does, for each of 101 thresholds, a comparison, an AND, an OR and two sums over P bytes:
  505 P operations for 101 figures. Summed by `.sum()`, as it is usually written, every byte is
  widened to int64; `np.count_nonzero` is the tight way to write the same.
- The histogram counts P / 2 pairs of pixels and the mask's m P pixels on their own, or, where m
  exceeds an eighth, P pixels with the mask folded in by three more operations each. Per element
  `np.bincount` casts, takes the minimum and the maximum and increments: 4 (1/2 + m) P operations,
  or 7 P. The 256 figures then cost 2 x 256 additions and 256 divisions.

Two limits stand beside the result. Reading the scores and the mask once, 2 P bytes at the bandwidth
that `np.copyto` shows in the same run, is the floor for any implementation. `np.bincount` over the
P / 2 pairs alone is the floor for one whose counting loop is NumPy's; a histogram's increments
depend on the data, so no processor runs them at the memory's speed.

    python benchmarks/threshold_sweep.py                  # 500 maps of 512 x 512, about 15 s
    python benchmarks/threshold_sweep.py --maps 50 --json sweep.json
"""

import argparse
import json
import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from wsss_core.evaluate import ScoreHistogram, level_of, quantise, resize

LEVELS = [level_of(step / 100) for step in range(101)]


def histogram_sweep(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return ScoreHistogram.from_scores(scores, mask).iou()


def loop_with_sum(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    curve = np.zeros(len(LEVELS))
    for position, level in enumerate(LEVELS):
        predicted = scores >= level
        union = (predicted | mask).sum()
        curve[position] = (predicted & mask).sum() / union if union else 0.0
    return curve


def loop_with_count_nonzero(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    curve = np.zeros(len(LEVELS))
    for position, level in enumerate(LEVELS):
        predicted = scores >= level
        union = np.count_nonzero(predicted | mask)
        curve[position] = np.count_nonzero(predicted & mask) / union if union else 0.0
    return curve


def draw_maps(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw score maps as a CAM gives them, a 32 x 32 grid resized, and elliptic masks."""
    generator = np.random.default_rng(0)
    scores = np.empty((count, size, size), dtype=np.uint8)
    masks = np.empty((count, size, size), dtype=bool)
    rows, columns = np.mgrid[:size, :size] / size
    for index in range(count):
        y, x = generator.uniform(0.2, 0.8, 2)
        tall, wide = generator.uniform(0.05, 0.3, 2)
        distance = ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2
        masks[index] = distance < 1
        grid = np.exp(-distance[:: max(1, size // 32), :: max(1, size // 32)])
        grid = 0.8 * grid + 0.2 * generator.random(grid.shape)
        scores[index] = quantise(resize(grid, (size, size)))
    return scores, masks


def milliseconds_a_map(
    sweep: Callable[..., object], scores: np.ndarray, masks: np.ndarray
) -> float:
    """Return the median over the maps, each swept once; a first map warms up."""
    sweep(scores[0], masks[0])
    seconds = []
    for one, mask in zip(scores, masks, strict=True):
        start = time.perf_counter()
        sweep(one, mask)
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def peak_bytes(sweep: Callable[..., object], scores: np.ndarray, mask: np.ndarray) -> int:
    tracemalloc.start()
    sweep(scores, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def copy_bandwidth(array: np.ndarray) -> float:
    """Return the bytes a second, read and written, of the best of five plain copies."""
    target = np.empty_like(array)
    np.copyto(target, array)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, array)
        seconds.append(time.perf_counter() - start)
    return 2 * array.nbytes / min(seconds)


def count_pairs(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    even = scores.size - scores.size % 2
    return np.bincount(scores.ravel()[:even].view(np.uint16), minlength=1 << 16)


def measure(count: int, size: int) -> dict[str, object]:
    scores, masks = draw_maps(count, size)
    for one, mask in zip(scores[:5], masks[:5], strict=True):
        curve = histogram_sweep(one, mask)[LEVELS]
        for loop in (loop_with_sum, loop_with_count_nonzero):
            if not np.array_equal(curve, loop(one, mask)):
                raise SystemExit(f"{loop.__name__} and the histogram disagree")
    sweeps = (histogram_sweep, loop_with_sum, loop_with_count_nonzero)
    bandwidth = copy_bandwidth(scores)
    shares = masks.mean(axis=(1, 2))
    per_pixel = np.where(shares > 1 / 8, 7, 4 * (1 / 2 + shares)).mean()
    return {
        "maps": count,
        "size": size,
        "mask_share": float(shares.mean()),
        "numpy": np.__version__,
        "processor": platform.processor() or platform.machine(),
        "milliseconds": {s.__name__: milliseconds_a_map(s, scores, masks) for s in sweeps},
        "operations": {
            "histogram_sweep": float(per_pixel) * size**2,
            "loop_with_sum": 505 * size**2,
            "loop_with_count_nonzero": 505 * size**2,
        },
        "peak_kib": {s.__name__: peak_bytes(s, scores[0], masks[0]) / 1024 for s in sweeps},
        "copy_gb_per_s": bandwidth / 1e9,
        "bytes_floor_milliseconds": 1e3 * 2 * size**2 / bandwidth,
        "bincount_floor_milliseconds": milliseconds_a_map(count_pairs, scores, masks),
    }


def print_table(result: dict) -> None:
    count, size, pixels = result["maps"], result["size"], result["size"] ** 2
    spent = result["milliseconds"]
    histogram = spent["histogram_sweep"]
    operations = result["operations"]
    figures = {"histogram_sweep": 256, "loop_with_sum": 101, "loop_with_count_nonzero": 101}
    print(
        f"{count} maps of {size} x {size}, masks covering {result['mask_share']:.1%}, one thread, "
        f"median over all {count} maps\n"
    )
    print(f"{'sweep':<25}{'thresholds':>11}{'ms/map':>9}{'ratio':>8}{'Mop/map':>9}{'peak KiB':>10}")
    for name, milliseconds in spent.items():
        print(
            f"{name:<25}{figures[name]:>11}{milliseconds:>9.3f}{milliseconds / histogram:>8.1f}"
            f"{operations[name] / 1e6:>9.2f}{result['peak_kib'][name]:>10.0f}"
        )
    floor, counting = result["bytes_floor_milliseconds"], result["bincount_floor_milliseconds"]
    print(f"\nThe histogram takes {histogram:.3f} ms:")
    print(
        f"  {histogram / floor:6.1f} x reading its {2 * pixels / 1024:.0f} KiB once "
        f"({floor:.4f} ms at the {result['copy_gb_per_s']:.1f} GB/s of np.copyto)"
    )
    print(f"  {histogram / counting:6.1f} x np.bincount over its pairs alone ({counting:.3f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=500, help="number of maps (default: 500)")
    parser.add_argument("--size", type=int, default=512, help="side in pixels (default: 512)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if arguments.maps < 1 or arguments.size < 1:
        parser.error("--maps and --size: expected at least 1")
    result = measure(arguments.maps, arguments.size)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
