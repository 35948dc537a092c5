"""Processor time and memory of `wsss data check` over 8,006 images, beside an earlier revision.

    python benchmarks/data_check.py [--images 8006] [--revision 6d4fdaa] [--repeats 3] [--keep DIR]

The folder has the sizes of SMOKE5K with smoke-free HPWREN frames: 4,000 synthetic training images
of 256x256 pixels, the others of 640x480, JPEG; PNG masks for 550. The earlier revision is checked
out into a temporary worktree. Each side runs in a process of its own, in turns, over the same
files.

Printed are, for each side, processor time (user and system), wall time and peak memory; then the
ratio of the earlier revision's processor time. "today's checks" switches off what the earlier
revision did not look for, so that both do the same work.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]

EARLIER = "FolderSource(Path({folder!r})).check()"
ALL = "FolderSource(Path({folder!r})).examine()"
SAME = """
import wsss_core.data.folder.check as check
nothing = lambda *arguments, **named: []
for name in ("label_findings", "picture_findings", "group_findings", "copy_findings"):
    setattr(check, name, nothing)
FolderSource(Path({folder!r})).examine()
"""

PROGRAM = """
import json, resource, time
from pathlib import Path
from wsss_core.data.folder import FolderSource
began, start = time.perf_counter(), time.process_time()
{work}
print(json.dumps([
    time.process_time() - start,
    time.perf_counter() - began,
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
]))
"""


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a picture with edges, clouds and noise, so that it compresses like a photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3), np.uint8)
    clouds = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(clouds).astype(np.int16)
    pixels += rng.integers(-12, 13, pixels.shape, np.int16)
    pixels[size[1] // 2 :, : size[0] // 3] //= 2
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def plume(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a mask of an ellipse, 0 and 255."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[1], : size[0]]
    x, y = rng.uniform(0.2, 0.8, 2) * size
    a, b = rng.uniform(0.05, 0.3, 2) * size
    inside = ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1
    return Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))


def files(images: int) -> list[tuple[str, int, tuple[int, int], bool]]:
    """Return path, seed, size and whether there is a mask, of each image."""
    share = images / 8006
    small, large = (256, 256), (640, 480)
    parts = [
        ("train/smoke", round(4000 * share), small, False),
        ("train/smoke", round(908 * share), large, False),
        ("train/clear", round(2348 * share), large, False),
        ("tune/images", round(150 * share), large, True),
        ("test/images", round(400 * share), large, True),
        ("test/clear", round(200 * share), large, False),
    ]
    found = []
    for folder, count, size, masked in parts:
        for _ in range(max(count, 1)):
            number = len(found)
            found.append((f"{folder}/x{number:05}.jpg", number, size, masked))
    return found


def write(folder: Path, one: tuple[str, int, tuple[int, int], bool]) -> None:
    """Write an image, and its mask if it has one."""
    name, seed, size, masked = one
    path = folder / name
    picture(seed, size).save(path, quality=90)
    if masked:
        plume(seed, size).save(path.parent.with_name("masks") / f"{path.stem}.png")


def make_folder(folder: Path, images: int) -> None:
    """Write the data folder unless it is there."""
    if (folder / "whole").exists():
        return
    listed = files(images)
    for name, *_, masked in listed:
        parent = (folder / name).parent
        parent.mkdir(parents=True, exist_ok=True)
        if masked:
            parent.with_name("masks").mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(write, [folder] * len(listed), listed, chunksize=64))
    (folder / "whole").touch()


def measure(checkout: Path, work: str) -> tuple[float, float, float]:
    """Return processor seconds, wall seconds and peak memory in MiB of a check."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    cpu, wall, peak = json.loads(ended.stdout.splitlines()[-1])
    return cpu, wall, peak


def main() -> None:
    """Measure both sides in turns and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8006)
    parser.add_argument("--revision", default="6d4fdaa")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the data folder there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "data"
        make_folder(folder, options.images)
        earlier = Path(scratch) / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(earlier), options.revision], check=True)
        sides = {
            options.revision: (earlier, EARLIER),
            "today's checks": (ROOT, SAME),
            "all checks": (ROOT, ALL),
        }
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
        try:
            for _ in range(options.repeats):
                for name, (checkout, work) in sides.items():
                    found[name].append(measure(checkout, work.format(folder=str(folder))))
        finally:
            subprocess.run([*git, "remove", "--force", str(earlier)], check=True)
    print(f"{'':16}{'CPU s':>16}{'wall s':>10}{'peak MiB':>10}{'CPU ratio':>11}")
    base = statistics.median(cpu for cpu, *_ in found[options.revision])
    for name, runs in found.items():
        cpus = sorted(cpu for cpu, *_ in runs)
        cpu = statistics.median(cpus)
        wall = statistics.median(wall for _, wall, _ in runs)
        peak = max(peak for *_, peak in runs)
        spread = f"{cpu:.1f} ({cpus[0]:.1f}-{cpus[-1]:.1f})"
        print(f"{name:16}{spread:>16}{wall:10.1f}{peak:10.0f}{cpu / base:11.2f}")


if __name__ == "__main__":
    main()
