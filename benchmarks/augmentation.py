"""What views cost: images a second of training with each option, beside the same training without.

The same networks train on the same images. Repeats are interleaved and medians compared; figures
are images a second of processor time on one thread, so what else the machine does weighs little.
A ratio of 0.8 means that a step takes a quarter longer. Views are made on the training's device
without worker processes; on a GPU they are not measured.

    python benchmarks/augmentation.py                    # some two minutes
    python benchmarks/augmentation.py --size 224 --images 32 --json augmentation.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from wsss_core.backbones import build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Alignment, Paradigm, Single, TeacherStudent

RECIPES: dict[str, dict[str, Any]] = {
    "flip": {"flip": True},
    "rescale": {"rescale": (0.5, 2.0)},
    "jitter": {"jitter": (0.3, 0.3, 0.3, 0.1)},
    "RandAugment": {"randaugment": (2, 9)},
    "CutMix": {"cutmix": 0.5},
    "average": {"ema": 0.999},
    "all": {
        "flip": True,
        "rescale": (0.5, 2.0),
        "jitter": (0.3, 0.3, 0.3, 0.1),
        "randaugment": (2, 9),
        "cutmix": 0.5,
        "ema": 0.999,
    },
}


def paradigms(size: int) -> dict[str, Callable[[], Paradigm]]:
    def cnn() -> Any:
        channels = (16, 32, 64, 128) if size < 128 else (64, 128, 256, 512)
        return build_network(
            "resnet18", classes=1, image_size=size, output_stride=8, options={"channels": channels}
        )

    def vit() -> Any:
        options = {"patch_size": 8 if size < 128 else 16, "embed_dim": 96, "depth": 4}
        return build_network(
            "vit_tiny_patch16_224", classes=1, image_size=size, options={**options, "num_heads": 3}
        )

    def taught() -> Paradigm:
        student, teacher = vit(), cnn()
        alignment = Alignment(student, teacher, metric="cosine", level="spatial")
        return TeacherStudent(student, teacher, alignment, 1.0)

    return {"CNN": lambda: Single(cnn()), "ViT": lambda: Single(vit()), "taught ViT": taught}


def measure(build: Callable[[], Paradigm], size: int, count: int, repeats: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = random.random((count, 1)) < 0.5
    settings = {name: TrainingSettings(epochs=1, batch_size=16, **more)
                for name, more in {"plain": {}, **RECIPES}.items()}  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in settings}
    paradigm = build()
    for repeat in range(repeats + 1):
        for name, recipe in settings.items():
            start = time.process_time()
            train(paradigm, images, labels, recipe, seed=repeat)
            if repeat:  # the first warms up
                rates[name].append(count / (time.process_time() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: medians[name] / medians["plain"] for name in RECIPES}
    return {"images_a_second": medians, "ratios": ratios, "rates": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--images", type=int, default=128, help="images an epoch")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each recipe")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {}
    print(f"images a second at {arguments.size} px, one thread; ratio to training without options")
    print("              plain  " + "  ".join(f"{name:>11}" for name in RECIPES))
    for name, build in paradigms(arguments.size).items():
        row = measure(build, arguments.size, arguments.images, arguments.repeats)
        rows[name] = row
        plain = row["images_a_second"]["plain"]
        print(f"{name:<12}{plain:7.0f}  " + "  ".join(f"{r:11.2f}" for r in row["ratios"].values()))
    if arguments.json:
        record = {
            "benchmark": "augmentation",
            "unit": "images a second of processor time, one thread",
            "size": arguments.size,
            "images": arguments.images,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
