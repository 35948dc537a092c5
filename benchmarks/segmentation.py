"""Training a U-Net with `wsss_core.segmentation.fit`, beside the same network in a bare loop.

Both train segmentation-models-pytorch's U-Net over a timm encoder on the masks of procedural
scenes, with the same loss, optimizer, schedule, steps and batch size. The bare loop is what a user
would write at a prompt: the whole set as float tensors in memory, no data loader, no void pixels,
no records. Each draws its batches in its own order. Two figures are compared:

- images a second of processor time on one thread, so that what else the machine does weighs little;
  repeats are interleaved and medians compared;
- IoU of smoke on the test scenes after training, over the seeds.

    python benchmarks/segmentation.py                     # about five minutes
    python benchmarks/segmentation.py --speed             # a minute, the speed alone
    python benchmarks/segmentation.py --json segmentation.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F

from wsss_core.data import ImageSet
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.evaluate import ConfusionCounts
from wsss_core.segmentation import (
    FitSettings,
    LabelledImages,
    Segmenter,
    SegmenterSettings,
    build_segmenter,
    fit,
    predict_masks,
)

SIZE = 64
ENCODER = "resnet18"
NARROW = {"channels": (16, 32, 64, 128)}
DECODER = (64, 48, 32, 24, 16)
UNET = SegmenterSettings(
    "unet", ENCODER, options={"decoder_channels": DECODER}, encoder_options=NARROW
)
SETTINGS = FitSettings(
    steps=400,
    batch_size=8,
    optimizer="adamw",
    learning_rate=1e-3,
    head_multiple=1.0,
    record_every=50,
)
EXPECTED_RATIO = 0.95
EXPECTED_POINTS = 2.0


def package_network(seed: int) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter(UNET, classes=1, image_size=SIZE)


def bare_network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return smp.Unet(
        f"tu-{ENCODER}", encoder_weights=None, classes=2, decoder_channels=DECODER, **NARROW
    )


def bare_loop(
    network: torch.nn.Module, data: LabelledImages, settings: FitSettings, *, channels_last: bool
) -> Callable[[], object]:
    """Return a training written from scratch around the library's model."""
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2).float().contiguous() / 255
    if channels_last:
        network.to(memory_format=torch.channels_last)
        pixels = pixels.to(memory_format=torch.channels_last)
    labels = torch.from_numpy(data.masks).long()
    config: Any = timm.get_pretrained_cfg(ENCODER)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )

    def train() -> None:
        network.train()
        step = 0
        while step < settings.steps:
            for chosen in torch.randperm(len(pixels)).split(settings.batch_size):
                if step == settings.steps or len(chosen) < settings.batch_size:
                    break
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * (1 - step / settings.steps) ** 0.9
                images, targets = pixels[chosen], labels[chosen]
                flips = torch.rand(len(chosen)) < 0.5
                images = torch.where(flips.view(-1, 1, 1, 1), images.flip(-1), images)
                targets = torch.where(flips.view(-1, 1, 1), targets.flip(-1), targets)
                loss = F.cross_entropy(network((images - mean) / std), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1

    return train


def bare_masks(network: torch.nn.Module, images: np.ndarray) -> list[np.ndarray]:
    config: Any = timm.get_pretrained_cfg(ENCODER)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    network.eval()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        parts = [network((part - mean) / std).argmax(1) for part in pixels.split(32)]
    return list(torch.cat(parts).numpy().astype(np.uint8))


def smoke_iou(masks: Any, test: ImageSet) -> float:
    """Return the IoU of smoke over the pixels of all test scenes, in points."""
    pairs = zip(masks, map(test.mask, range(len(test))), strict=True)
    return 100 * float(ConfusionCounts.of_maps(pairs, 1).iou()[1])


def measure_speed(data: LabelledImages, repeats: int) -> dict[str, Any]:
    settings = replace(SETTINGS, steps=30)
    network = package_network(0)
    trainings: dict[str, Callable[[], object]] = {
        "package": lambda: fit(network, data, settings, seed=0),
        "bare": bare_loop(bare_network(0), data, settings, channels_last=False),
        "bare_channels_last": bare_loop(bare_network(0), data, settings, channels_last=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in trainings}
    for train in trainings.values():
        train()
    for repeat in range(repeats):
        order = list(trainings)[repeat % 3 :] + list(trainings)[: repeat % 3]
        for name in order:
            start = time.process_time()
            trainings[name]()
            spent = time.process_time() - start
            rates[name].append(settings.steps * settings.batch_size / spent)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        **medians,
        "ratio": medians["package"] / medians["bare"],
        "ratio_channels_last": medians["package"] / medians["bare_channels_last"],
        "rates": rates,
    }


def measure_quality(data: LabelledImages, test: ImageSet, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for seed in range(seeds):
        network, curve = package_network(seed), []
        fit(
            network,
            data,
            SETTINGS,
            seed=seed,
            on_record=lambda record, network=network, curve=curve: curve.append(  # type: ignore[misc]
                (record.step, smoke_iou(predict_masks(network, test.images, batch_size=32), test))
            ),
        )
        bare = bare_network(seed)
        torch.manual_seed(seed)
        bare_loop(bare, data, SETTINGS, channels_last=False)()
        found = {
            "seed": seed,
            "curve": curve,
            "package": curve[-1][1],
            "bare": smoke_iou(bare_masks(bare, test.images), test),
        }
        rows.append(found)
        print(
            f"seed {seed}: package {found['package']:.1f}, bare {found['bare']:.1f}; by step "
            + ", ".join(f"{step}: {iou:.1f}" for step, iou in curve),
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300, help="training scenes with masks")
    parser.add_argument("--test", type=int, default=150, help="test scenes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--speed", action="store_true", help="leave the quality out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    # Training scenes have no masks: those of the tune split, of other scenes, are trained on.
    source = SceneSource(SceneSettings(), train=2, tune=arguments.images, test=arguments.test)
    data = LabelledImages.of_image_set(source.read("tune", SIZE))
    speed = measure_speed(data, arguments.repeats)
    print(
        f"images a second at {SIZE} px, one thread: package {speed['package']:.0f}; bare "
        f"{speed['bare']:.0f}, ratio {speed['ratio']:.2f}; bare, channels last "
        f"{speed['bare_channels_last']:.0f}, ratio {speed['ratio_channels_last']:.2f} "
        f"(expected: {EXPECTED_RATIO} or more)",
        flush=True,
    )
    rows = []
    if not arguments.speed:
        rows = measure_quality(data, source.read("test", SIZE), arguments.seeds)
        means = [statistics.mean(row[name] for row in rows) for name in ("package", "bare")]
        print(
            f"IoU of smoke, mean of {len(rows)} seeds: package {means[0]:.1f}, bare "
            f"{means[1]:.1f} (expected: within {EXPECTED_POINTS:g} points)"
        )
    if arguments.json:
        record = {
            "benchmark": "segmentation",
            "unit": "images a second of processor time, one thread; IoU in points",
            "size": SIZE,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "segmentation_models_pytorch": smp.__version__,
            "speed": speed,
            "quality": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
