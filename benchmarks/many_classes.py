"""Argmax with a background threshold: 20 classes beside one, and a loop over thresholds.

The work, counted for K maps of P pixels (512 x 512: P = 262,144), in passes over P pixels:

- The winner takes 4 passes over bytes for each class after the first: is it greater, the maximum,
  its number where it is greater, the maximum of the numbers. They are vectorised and an image of
  bytes lies in the second-level cache.
- The place of a pixel in the histogram (true class, winner, level) takes a table look-up and an
  addition, the counting casts nothing, looks for the extremes and increments: some 5 passes over
  8 bytes, whatever K is.
- The 256 x (K + 1) figures of an image come from (K + 1) x K x 256 counts, 107,520 with 20
  classes: they are set to 0, summed once, and the rows of the classes that the image holds are
  added up; cumulative sums are of K x 256.

So one class costs the last two, and 20 classes add 76 byte passes and 107,520 counts. The way that
counts a histogram of each class's competing map costs K of everything, and a loop over thresholds
a confusion matrix for each: its time is taken at a few thresholds and multiplied.

Memory: a histogram of (K + 1) x K x 256 counts for the images with a class and the others, and one
image. The peak is measured over few and over many images, which a generator draws.

    python benchmarks/many_classes.py                  # 20 maps of 512 x 512, about 10 s
    python benchmarks/many_classes.py --images 5 --json classes.json
"""

import argparse
import json
import os
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from wsss_core.evaluate import (
    ScoreHistogram,
    argmax_sweep,
    compete,
    confusion_counts,
    quantise,
    resize,
)

Image = tuple[np.ndarray, np.ndarray]
LOOPED = (1, 77, 128, 200)  # the thresholds at which the loop is timed


def draw_image(number: int, classes: int, size: int) -> Image:
    """Draw maps as CAMs give them, a 32 x 32 grid resized, and ellipses of three classes."""
    random = np.random.default_rng([classes, number])
    rows, columns = np.mgrid[:size, :size] / size
    truth = np.zeros((size, size), np.uint8)
    grids = 0.4 * random.random((classes, 32, 32))
    for k in random.choice(classes, min(3, classes), replace=False):
        y, x = random.uniform(0.2, 0.8, 2)
        tall, wide = random.uniform(0.1, 0.3, 2)
        distance = ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2
        truth[distance < 1] = k + 1
        step = max(1, size // 32)
        grids[k] += 0.6 * np.exp(-distance[::step, ::step][:32, :32])
    return quantise(resize(grids, (size, size))), truth


def one_pass(images: list[Image]) -> object:
    return argmax_sweep(images, len(images[0][0])).mean_iou()


def histogram_a_class(images: list[Image]) -> object:
    total = []
    for levels, truth in images:
        left = compete(levels) if len(levels) > 1 else levels
        total += [ScoreHistogram.from_scores(one, truth == k + 1) for k, one in enumerate(left)]
    return [histogram.iou() for histogram in total]


def loop(images: list[Image]) -> list[np.ndarray]:
    """Return the confusion counts of the images together at each of `LOOPED`."""
    totals = []
    for level in LOOPED:
        each = []
        for levels, truth in images:
            winner, best = levels.argmax(axis=0), np.maximum(levels.max(axis=0), 1)
            predicted = np.where(best >= level, winner + 1, 0)
            each.append(confusion_counts(predicted, truth, len(levels)))
        totals.append(np.sum(each, axis=0))
    return totals


def milliseconds(
    works: dict[str, tuple[Callable[[list[Image]], object], list[Image]]], repeats: int
) -> dict[str, float]:
    """Return each work's processor time an image, its best; repeats alternate between works."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, (work, images) in works.items():
            start = time.process_time()
            work(images)
            best[name] = min(best[name], 1e3 * (time.process_time() - start) / len(images))
    return best


def peak_mib(images: int, classes: int, size: int) -> float:
    """Return the peak memory of a pass over images that a generator repeats."""
    drawn = [draw_image(number, classes, size) for number in range(2)]

    def stream() -> Iterator[Image]:
        for number in range(images):
            levels, truth = drawn[number % 2]
            yield levels.copy(), truth.copy()

    tracemalloc.start()
    argmax_sweep(stream(), classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def measure(count: int, size: int, classes: int, repeats: int) -> dict[str, object]:
    one = [draw_image(number, 1, size) for number in range(count)]
    many = [draw_image(number, classes, size) for number in range(count)]
    confusion = argmax_sweep(many, classes).pooled().confusion()
    for level, expected in zip(LOOPED, loop(many), strict=True):
        if not np.array_equal(confusion[level], expected):
            raise SystemExit(f"the pass and the loop disagree at the threshold {level}")
    spent = milliseconds(
        {
            "one pass, 1 class": (one_pass, one),
            f"one pass, {classes} classes": (one_pass, many),
            "a histogram, 1 class": (histogram_a_class, one),
            f"a histogram a class, {classes} classes": (histogram_a_class, many),
        },
        repeats,
    )
    looped = milliseconds({"loop": (loop, many[:2])}, 1)["loop"] * 256 / len(LOOPED)
    few, more = 4, 40
    return {
        "images": count,
        "size": size,
        "classes": classes,
        "numpy": np.__version__,
        "processor": platform.processor() or platform.machine(),
        "milliseconds": {**spent, f"loop over 256 thresholds, {classes} classes": looped},
        "peak_mib": {str(images): peak_mib(images, classes, size) for images in (few, more)},
    }


def print_table(result: dict) -> None:
    count, size, classes = result["images"], result["size"], result["classes"]
    print(
        f"{count} images of {size} x {size}, one thread, processor time, the best of the repeats\n"
    )
    spent = result["milliseconds"]
    base = spent["one pass, 1 class"]
    print(f"{'':<42}{'ms/image':>10}{'ratio':>8}")
    for name, one in spent.items():
        print(f"{name:<42}{one:>10.2f}{one / base:>8.1f}")
    ratio = spent[f"one pass, {classes} classes"] / base
    print(f"\n{classes} classes take {ratio:.1f} times as long as one")
    few, more = result["peak_mib"].items()
    print(f"peak memory: {few[1]:.1f} MiB of {few[0]} images, {more[1]:.1f} MiB of {more[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20, help="images (default: 20)")
    parser.add_argument("--size", type=int, default=512, help="side in pixels (default: 512)")
    parser.add_argument("--classes", type=int, default=20, help="classes (default: 20)")
    parser.add_argument("--repeats", type=int, default=7, help="of each pass (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if arguments.images < 1 or arguments.size < 32 or not 2 <= arguments.classes <= 254:
        parser.error("expected at least 1 image, 32 pixels, and 2 to 254 classes")
    result = measure(arguments.images, arguments.size, arguments.classes, arguments.repeats)
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
