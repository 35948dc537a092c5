"""Masks of a folder by a segmenter: `wsss masks --segmenter` beside a plain loop.

The plain loop is what a user would write at a prompt: open an image with Pillow, resize it, pass it
through the network, enlarge the logits to the image's size, take the largest, save a PNG. PyTorch
uses as many threads as it likes there. `wsss masks` starts Ray, has a worker with one thread on
each core, and writes through to the disk with digests; its start counts. The masks are compared:
both sides have to give the same pixels.

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
from pathlib import Path

import numpy as np
import ray
import torch
import torch.nn.functional as F
from PIL import Image

from studies.masks.making import make_segmenter_masks
from wsss_core.data.scenes import SceneSettings, SceneSource
from wsss_core.segmentation import (
    SegmenterSettings,
    build_segmenter,
    load_segmenter,
    save_segmenter,
)

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


def write_segmenter(file: Path) -> None:
    torch.manual_seed(0)
    save_segmenter(build_segmenter(SETTINGS, classes=1, image_size=SIZE), file)


def plain_loop(file: Path, images: Path, out: Path) -> float:
    out.mkdir()
    began = time.perf_counter()
    segmenter = load_segmenter(file)
    with torch.no_grad():
        for image in sorted(images.iterdir()):
            with Image.open(image) as opened:
                picture = opened.convert("RGB")
            small = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
            logits = F.interpolate(
                segmenter(pixels), picture.size[::-1], mode="bilinear", align_corners=False
            )
            mask = logits[0].argmax(0).to(torch.uint8).numpy()
            Image.fromarray(mask).save(out / f"{image.stem}.png")
    return time.perf_counter() - began


def command(file: Path, images: Path, out: Path, *, in_process: bool) -> float:
    began = time.perf_counter()
    made = make_segmenter_masks(file, images, out, in_process=in_process)
    seconds = time.perf_counter() - began
    if ray.is_initialized():
        ray.shutdown()
    assert not made.failed
    return seconds


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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times: dict[str, list[float]] = {"plain loop": [], "in process": [], "wsss masks": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_images(folder / "images", options.images)
        write_segmenter(folder / "segmenter.safetensors")
        for _ in range(options.repeats):
            for name, found in times.items():
                out = folder / name
                shutil.rmtree(out, ignore_errors=True)
                given = folder / "segmenter.safetensors", folder / "images", out
                if name == "plain loop":
                    found.append(plain_loop(*given))
                else:
                    found.append(command(*given, in_process=name == "in process"))
        share = differing(folder / "plain loop", folder / "wsss masks")
    rates = {name: [options.images / seconds for seconds in found] for name, found in times.items()}
    for name, found in rates.items():
        print(
            f"{name}: {statistics.median(found):.1f} images/s "
            f"({min(found):.1f} to {max(found):.1f})"
        )
    ratio = statistics.median(rates["wsss masks"]) / statistics.median(rates["plain loop"])
    print(f"ratio {ratio:.2f}, expected {EXPECTED_RATIO} on two cores; cores: {os.cpu_count()}")
    print(f"share of pixels that differ: {share:.1e}")
    if options.json:
        about = {
            "machine": platform.processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        }
        content = {"images": options.images, "images_per_second": rates, "ratio": ratio, **about}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
