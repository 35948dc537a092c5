"""Images a second of the training loop, beside the same network in a bare PyTorch loop.

Both loops do the same arithmetic on the same images: normalise, forward, binary cross-entropy,
backward, AdamW. `wsss_core.training.train` takes stored bytes, gathers and converts each batch,
computes activation maps beside the logits, and adds up its losses; the bare loop is what a user
would write at a prompt, with the whole set as float tensors in memory and no data loader.

The bare loop is run twice: as it is written by default, and with channels-last convolutions, which
the package uses for CNNs. One thread; figures are images a second of processor time, so what else
the machine does weighs little. Repeats are interleaved and medians compared.

    python benchmarks/training.py                        # about a minute
    python benchmarks/training.py --repeats 3 --json training.json
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
import timm
import torch
from torch import nn

from wsss_core.backbones import build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single

SIZE = 64
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "narrow CNN": ("resnet18", {"channels": (16, 32, 64, 128)}),
    "small ViT": (
        "vit_tiny_patch16_224",
        {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3},
    ),
}
EXPECTED = 0.9


def package_loop(name: str, options: dict[str, Any], images: np.ndarray, labels: np.ndarray,
                 batch_size: int) -> Callable[[], object]:  # fmt: skip
    """One epoch of the package's training loop."""
    stride = None if name.startswith("vit") else 8
    network = build_network(name, classes=1, image_size=SIZE, output_stride=stride, options=options)
    paradigm, settings = Single(network), TrainingSettings(epochs=1, batch_size=batch_size)
    return lambda: train(paradigm, images, labels, settings, seed=0)


def bare_loop(name: str, options: dict[str, Any], images: np.ndarray, labels: np.ndarray,
              batch_size: int, *, channels_last: bool) -> Callable[[], object]:  # fmt: skip
    """One epoch of a loop written from scratch around the timm model."""
    if name.startswith("vit"):
        shape: dict[str, Any] = {"img_size": SIZE, "global_pool": "avg"}
    else:
        shape = {"output_stride": 8}
    model = timm.create_model(name, num_classes=1, **shape, **options).train()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 255
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        pixels = pixels.to(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels).float()
    mean = torch.tensor(model.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(model.pretrained_cfg["std"]).view(1, 3, 1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    criterion = nn.BCEWithLogitsLoss()

    def epoch() -> float:
        total = 0.0
        for chosen in torch.randperm(len(pixels)).split(batch_size):
            logits = model((pixels[chosen] - mean) / std)
            loss = criterion(logits, targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def images_a_second(epoch: Callable[[], object], count: int) -> float:
    start = time.process_time()
    epoch()
    return count / (time.process_time() - start)


def measure(model: str, count: int, batch_size: int, repeats: int) -> dict[str, Any]:
    name, options = MODELS[model]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    labels = random.random((count, 1)) < 0.5
    data = (images, labels, batch_size)
    loops = {
        "package": package_loop(name, options, *data),
        "bare": bare_loop(name, options, *data, channels_last=False),
        "bare_channels_last": bare_loop(name, options, *data, channels_last=True),
    }
    for epoch in loops.values():
        epoch()
    rates: dict[str, list[float]] = {loop: [] for loop in loops}
    for repeat in range(repeats):
        order = list(loops)[repeat % 3 :] + list(loops)[: repeat % 3]
        for loop in order:
            rates[loop].append(images_a_second(loops[loop], count))
    medians = {loop: statistics.median(values) for loop, values in rates.items()}
    return {
        "model": model,
        **medians,
        "ratio": medians["package"] / medians["bare"],
        "ratio_channels_last": medians["package"] / medians["bare_channels_last"],
        "rates": rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=384, help="images an epoch")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9, help="epochs of each loop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    print(f"images a second at {SIZE} px, one thread")
    print("                package    bare  ratio   bare, channels last  ratio")
    for model in MODELS:
        row = measure(model, arguments.images, arguments.batch_size, arguments.repeats)
        rows.append(row)
        print(
            f"{model:<12}{row['package']:11.0f}{row['bare']:8.0f}{row['ratio']:7.2f}"
            f"{row['bare_channels_last']:22.0f}{row['ratio_channels_last']:7.2f}"
        )
    print(f"expected: a ratio to the bare loop of at least {EXPECTED}")
    if arguments.json:
        record = {
            "benchmark": "training",
            "unit": "images a second of processor time, one thread",
            "size": SIZE,
            "images": arguments.images,
            "batch_size": arguments.batch_size,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
