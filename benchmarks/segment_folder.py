"""Masks of a folder by a segmenter: `wsss masks --segmenter` beside a plain loop.

The plain loop is what a user would write at a prompt: open an image with Pillow, resize it, pass it
through the network, enlarge the logits to the image's size, take the largest, save a PNG. PyTorch
uses as many threads as it likes there. `wsss masks` starts Ray and has a worker with one thread on
each core, with `--in-process` it has a thread for each core; both write through to the disk with
digests. The start counts. Every way runs in float32 and under bfloat16 autocast. All masks are
compared with those of the plain loop in float32; in float32 they have to be the same.

Repeats are interleaved; medians are compared. The machine has to be idle.

    python benchmarks/segment_folder.py                   # some minutes
    python benchmarks/segment_folder.py --images 60 --repeats 1
    python benchmarks/segment_folder.py --json segment_folder.json
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import ray
import torch
import torch.nn.functional as F
from PIL import Image

from studies.masks.making import make_segmenter_masks
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.segmentation import (
    FitSettings,
    LabelledImages,
    SegmenterSettings,
    build_segmenter,
    fit,
    load_segmenter,
    save_segmenter,
)
from wsss_core.segmentation.settings import NetworkPrecision

SIZE = 224
SETTINGS = SegmenterSettings("unet", "resnet18")
EXPECTED_RATIO = 1.6


def write_images(folder: Path, count: int) -> None:
    """Write procedural scenes as JPEGs of 640 x 480 px."""
    scenes = SceneSource(SceneSettings(), train=2, tune=2, test=count).read("test", 256)
    folder.mkdir()
    for number, pixels in enumerate(scenes.images):
        picture = Image.fromarray(np.asarray(pixels)).resize((640, 480), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.jpg", quality=90)


def write_segmenter(file: Path, steps: int) -> None:
    """Train a segmenter for a while: at random weights every pixel is near a border of classes."""
    torch.manual_seed(0)
    segmenter = build_segmenter(SETTINGS, classes=1, image_size=SIZE)
    source = SceneSource(SceneSettings(), train=2, tune=200, test=2)
    data = LabelledImages.of_image_set(source.read("tune", SIZE // 2))
    settings = FitSettings(steps, optimizer="adamw", learning_rate=1e-3, head_multiple=1.0)
    fit(segmenter, data, settings, seed=0)
    save_segmenter(segmenter, file)


def plain_loop(file: Path, images: Path, out: Path, *, precision: NetworkPrecision) -> float:
    out.mkdir()
    began = time.perf_counter()
    segmenter = load_segmenter(file)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.no_grad():
        for image in sorted(images.iterdir()):
            with Image.open(image) as opened:
                picture = opened.convert("RGB")
            small = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
            with autocast:
                found = segmenter(pixels).float()
            logits = F.interpolate(found, picture.size[::-1], mode="bilinear", align_corners=False)
            mask = logits[0].argmax(0).to(torch.uint8).numpy()
            Image.fromarray(mask).save(out / f"{image.stem}.png")
    return time.perf_counter() - began


def command(
    file: Path, images: Path, out: Path, *, precision: NetworkPrecision, in_process: bool
) -> float:
    began = time.perf_counter()
    made = make_segmenter_masks(file, images, out, in_process=in_process, precision=precision)
    seconds = time.perf_counter() - began
    if ray.is_initialized():
        ray.shutdown()
    assert not made.failed
    return seconds


WAYS: dict[str, Callable[..., float]] = {
    "plain loop": plain_loop,
    "wsss masks --in-process": partial(command, in_process=True),
    "wsss masks": partial(command, in_process=False),
}


def differing(one: Path, other: Path) -> float:
    """Return the share of pixels that differ between two folders of masks."""
    wrong = total = 0
    for file in sorted(one.glob("*.png")):
        with Image.open(file) as a, Image.open(other / file.name) as b:
            first, second = np.array(a), np.array(b)
        wrong, total = wrong + int((first != second).sum()), total + first.size
    return wrong / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150, help="of the segmenter's training")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times: dict[tuple[str, NetworkPrecision], list[float]] = {
        (way, precision): [] for precision in ("fp32", "bf16") for way in WAYS
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_images(folder / "images", options.images)
        write_segmenter(folder / "segmenter.safetensors", options.steps)
        for _ in range(options.repeats):
            for (way, precision), found in times.items():
                out = folder / f"{way} {precision}"
                shutil.rmtree(out, ignore_errors=True)
                given = folder / "segmenter.safetensors", folder / "images", out
                found.append(WAYS[way](*given, precision=precision))
        plain = folder / "plain loop fp32"
        wrong = {made: differing(plain, folder / " ".join(made)) for made in times}
    rates = {" ".join(made): [options.images / one for one in times[made]] for made in times}
    base = statistics.median(rates["plain loop fp32"])
    ratios = {name: statistics.median(found) / base for name, found in rates.items()}
    print("| | images a second, median (range) | ratio | pixels that differ, in a million |")
    print("|---|---|---|---|")
    for (name, found), share in zip(rates.items(), wrong.values(), strict=True):
        spread = f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})"
        print(f"| {name} | {spread} | {ratios[name]:.2f} | {1e6 * share:.3g} |")
    print(f"expected ratio {EXPECTED_RATIO} on two cores; cores: {os.cpu_count()}")
    if options.json:
        about = {
            "machine": platform.processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        }
        content = {"images": options.images, "images_per_second": rates, "ratios": ratios, **about}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
