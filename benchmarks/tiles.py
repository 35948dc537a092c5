"""Masks of large images through blended tiles, beside a plain pass that holds the whole image.

A large image is composed of noise and gradients, or of the images of a folder, and written as PNG
or JPEG. Each measurement is a process of its own, whose peak resident memory is compared with what
it held before it opened the image:

- tiles: CAMs of all windows and the mask, as `wsss masks --tile-size` makes them;
- plain: the same windows by a plain loop, with the image, the blended scores and the mask held as
  whole arrays;
- decode: Pillow alone, which decodes the file and does nothing.

    python benchmarks/tiles.py                              # about ten minutes on one core
    python benchmarks/tiles.py --sides 3000 6000            # two minutes
    python benchmarks/tiles.py --crops DIR --json tiles.json
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

TILE, STRIDE, SIZE = 512, 384, 64
MIB = 1024**2


def compose(file: Path, side: int, crops: Path | None) -> None:
    """Write an image of side x side pixels, of the images of a folder or of a pattern."""
    random = np.random.default_rng(0)
    whole = Image.new("RGB", (side, side))
    files = sorted(crops.rglob("*.jpg"))[:400] if crops is not None else []
    for top in range(0, side, 256):
        for left in range(0, side, 256):
            if files:
                with Image.open(files[int(random.integers(len(files)))]) as opened:
                    part = opened.convert("RGB").resize((256, 256))
            else:
                ramp = np.add.outer(np.arange(256), np.arange(256)) // 4 + random.integers(120)
                part = Image.fromarray(np.stack([ramp] * 3, axis=-1).astype(np.uint8))
            whole.paste(part, (left, top))
    whole.save(file, quality=90, compress_level=1)


def peak() -> float:
    """Return the process's peak resident memory in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1024 if sys.platform != "darwin" else used / MIB


def network() -> object:
    """Return a small classifier with random weights."""
    import torch

    from wsss_core.backbones import build_network

    torch.manual_seed(0)
    torch.set_num_threads(1)
    options = {"channels": [8, 16, 32, 64]}
    return build_network("resnet18", classes=1, image_size=SIZE, options=options)


def tiled(file: Path, out: Path) -> None:
    """Make the mask as `wsss masks` does: strips in, rows out."""
    from studies.masks.files import MaskOrigin, mask_of, voc_palette
    from studies.masks.windowed import png_rows
    from wsss_core.cams import window_cams
    from wsss_core.data.framing import PictureRows
    from wsss_core.data.pixel_rules import PixelRules
    from wsss_core.evaluate import quantise
    from wsss_core.tiling import (
        BandBlender,
        PictureWindows,
        cut_views,
        normalise_windows,
        tile_boxes,
    )

    none = np.zeros(1, bool)
    with PictureRows.opened(file, PixelRules("ignore", largest_megapixels=4096)) as rows:
        boxes = tile_boxes(rows.shape, TILE, STRIDE)
        windows = PictureWindows.of([rows.shape], [boxes])
        raw = window_cams(network(), cut_views(rows, rows.shape, boxes, SIZE), windows)
        shape = rows.shape
    scores = normalise_windows(raw.maps, windows, "min_max")
    blender = BandBlender(boxes, shape)
    with png_rows(out, out.parent / "unfinished", MaskOrigin(), shape, voc_palette()) as add:
        for _, band in blender.add(scores):
            add(mask_of(quantise(band), none, 128))


def plain(file: Path, out: Path) -> None:
    """Make the mask with everything in memory: the image, the sums, the weights, the mask."""
    from wsss_core.cams import class_weight_cams
    from wsss_core.evaluate import resize
    from wsss_core.tiling import tile_boxes

    model = network()
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    shape = pixels.shape[:2]
    boxes = tile_boxes(shape, TILE, STRIDE)
    maps = []
    for start in range(0, len(boxes), 32):
        views = [
            np.asarray(
                Image.fromarray(pixels[top : top + TILE, left : left + TILE]).resize(
                    (SIZE, SIZE), Image.Resampling.BILINEAR
                )
            )
            for top, left, _, _ in boxes[start : start + 32].tolist()
        ]
        maps.append(class_weight_cams(model, np.stack(views)).maps[:, 0].astype(np.float32))
    scores = np.concatenate(maps)
    scores = (scores - scores.min()) / (scores.max() - scores.min())
    sums, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    ramp = np.minimum(np.arange(TILE) + 0.5, TILE - np.arange(TILE) - 0.5).astype(np.float32)
    weight = np.outer(ramp, ramp)
    for one, (top, left, _, _) in zip(scores, boxes.tolist(), strict=True):
        place = np.s_[top : top + TILE, left : left + TILE]
        sums[place] += weight * resize(one, (TILE, TILE))
        weights[place] += weight
    mask = (np.rint(sums / weights * 255) >= 128).astype(np.uint8)
    Image.fromarray(mask).save(out)


def decode(file: Path, out: Path) -> None:
    """Decode the file, and do nothing with it."""
    with Image.open(file) as opened:
        opened.load()


WAYS = {"tiles": tiled, "plain": plain, "decode": decode}


def one(way: str, file: Path, out: Path) -> None:
    """Run a way in this process; print its memory and its time."""
    # What every way loads counts for none, so a tile is seen before.
    import wsss_core.cams
    import wsss_core.data.framing
    import wsss_core.tiling  # noqa: F401
    from wsss_core.cams import class_weight_cams

    Image.MAX_IMAGE_PIXELS = None
    class_weight_cams(network(), np.zeros((32, SIZE, SIZE, 3), np.uint8))
    before, began = peak(), time.perf_counter()
    WAYS[way](file, out)
    print(json.dumps({"mib": peak() - before, "seconds": time.perf_counter() - began}))


def measured(way: str, file: Path, out: Path) -> dict[str, float]:
    """Run a way in a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--image", str(file), "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[3000, 6000, 12000])
    parser.add_argument("--formats", nargs="+", default=["png", "jpg"])
    parser.add_argument("--crops", type=Path, help="a folder of .jpg to compose images of")
    parser.add_argument("--keep", type=Path, help="a folder for images and masks [temporary]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=WAYS)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.one:
        one(options.one, options.image, options.out)
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'format':7} {'side':>6} {'way':7} {'peak MiB':>9} {'seconds':>8}")
        for suffix in options.formats:
            for side in options.sides:
                file = folder / f"{side}.{suffix}"
                compose(file, side, options.crops)
                masks = {}
                for way in WAYS:
                    out = folder / f"{side}_{suffix}_{way}.png"
                    found = measured(way, file, out)
                    rows.append({"format": suffix, "side": side, "way": way, **found})
                    print(
                        f"{suffix:7} {side:6} {way:7} {found['mib']:9.0f} {found['seconds']:8.1f}",
                        flush=True,
                    )
                    masks[way] = out
                with Image.open(masks["tiles"]) as a, Image.open(masks["plain"]) as b:
                    same = float((np.asarray(a) == np.asarray(b)).mean())
                print(f"        pixels alike in the masks of tiles and plain: {same:.5f}")
    if options.json:
        about = {"machine": platform.platform(), "tile": TILE, "stride": STRIDE, "rows": rows}
        options.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
