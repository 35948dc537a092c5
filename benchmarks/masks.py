"""Pseudo masks of a folder a second: `wsss masks` on this machine's cores beside a plain loop.

All do the same work: decode an image, make its CAM with a small network, refine it by a dense CRF,
resize and cut it, write the PNG. The loops are `studies.masks.worker.CamMasks` with
one thread: with our own CRF, whose files are compared byte by byte, and with pydensecrf, as loops
in the field have it, whose pixels are. Ray Data's time includes starting Ray and two workers, about
ten seconds. What two cores can do is measured too: two such loops side by side.

Memory is the sum of the proportional set sizes (Linux: shared pages count once) of all processes
that the run started, while a tenth to nine tenths of the images are done. It has to stay flat
however many images there are.

    python benchmarks/masks.py                                  # 120 crops, about 2 min on 2 cores
    python benchmarks/masks.py --images 2000 --size 256         # the documentation's: 8 min
    python benchmarks/masks.py --images 10000 --size 64 --refine none --memory-only
    python benchmarks/masks.py --images 300 --size 64 --refine none --digests   # what they cost
"""

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray
import torch
from PIL import Image
from safetensors.torch import save_file

from studies.masks.completed import MaskState
from studies.masks.files import MaskOrigin
from studies.masks.folder import make_missing_masks
from studies.masks.recipe import MaskRecipe
from studies.masks.worker import MaskJob
from studies.planning.chains import Chain, MapScaling, Step
from studies.planning.images import ImageSplits
from studies.planning.job import TrainingJob
from studies.stages.training import initial_network
from studies.store.artifacts import ArtifactStore
from wsss_core.cams import CamSettings
from wsss_core.data.scenes.scene import SceneSettings, render_scene

TARGET = 1.8
DISTINCT = 48
CHAINS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "crf": [{"kind": "crf", "identity": {"kind": "crf"}, "arguments": {"preset": "thesis"}}],
    "pydensecrf": [
        {
            "kind": "crf",
            "identity": {"kind": "crf"},
            "arguments": {"preset": "thesis", "backend": "pydensecrf"},
        }
    ],
    "par": [{"kind": "par", "identity": {"kind": "par"}, "arguments": {}}],
}


MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the images that are done when memory is looked at."""


def write_images(folder: Path, count: int, size: int) -> None:
    """Scenes as PNG and JPEG in turn; beyond `DISTINCT` they repeat under other names."""
    folder.mkdir()
    kinds = ("png", "jpg")
    files = []
    for number in range(min(count, DISTINCT)):
        kind = kinds[number % 2]
        file = folder / f"{number:05}.{kind}"
        Image.fromarray(render_scene(SceneSettings(size=size), number).image).save(file)
        files.append(file.read_bytes())
    for number in range(DISTINCT, count):
        content = files[number % DISTINCT]
        (folder / f"{number:05}.{kinds[number % DISTINCT % 2]}").write_bytes(content)


def recipe(folder: Path, size: int, refine: str) -> MaskRecipe:
    """A network with random weights, kept like a trained one."""
    settings: dict[str, Any] = {
        "paradigm": "single",
        "student": {
            "model": "resnet18",
            "partial_weights": False,
            "stage": None,
            "output_stride": 16,
            "head": "linear",
            "options": {"channels": [16, 32, 64, 128]},
        },
        "seed": 0,
        "classes": ["smoke"],
        "image_size": size,
    }
    training = TrainingJob("random", settings, ImageSplits(size, {}))
    store = ArtifactStore(folder / "store")
    if not store.has("train", "random"):
        network = initial_network(training, "student", "none")
        with store.build("train", "random", {}) as kept:
            tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
            save_file(tensors, kept / "student.safetensors")
    steps = CHAINS[refine]
    return MaskRecipe(
        study="benchmark",
        configuration="random",
        seed=0,
        trial_key="none",
        scores_key="none",
        training=training,
        store=str(store.root),
        chain=Chain(refine, CamSettings(), tuple(Step(**step) for step in steps)),
        scaling=MapScaling("min_max", "none"),
        fitted_states=(None,) * len(steps),
        rule="given",
        level=128,
    )


def proportional_bytes(root: int) -> int:
    """Memory of a process and all below it, shared pages divided among those that share them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            parents[int(entry.name)] = int(fields[1])
    total = 0
    for process in parents:
        line = [process]
        while line[-1] in parents and line[-1] != root:
            line.append(parents[line[-1]])
        if line[-1] != root:
            continue
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(1024 * int(x.split()[1]) for x in rollup.splitlines() if x[:4] == "Pss:")
    return total


class MemoryOverTime:
    """Samples the memory of this process and its workers as `MOMENTS` pass, and no oftener.

    Adding up a dozen processes' pages takes a core a tenth of a second.
    """

    def __init__(self, out: Path, count: int) -> None:
        self._out, self._count = out, count
        self.mib = [float("nan")] * len(MOMENTS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "MemoryOverTime":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        for place, moment in enumerate(MOMENTS):
            while sum(1 for _ in self._out.glob("*.png")) < moment * self._count:
                if self._ended.wait(0.5):
                    return
            self.mib[place] = proportional_bytes(os.getpid()) / 2**20


def steady_rate(out: Path) -> float:
    """Images a second between the first and the last tenth of the masks, by their dates."""
    written = sorted(file.stat().st_mtime for file in out.rglob("*.png"))
    first, last = len(written) // 10, len(written) - 1 - len(written) // 10
    return (last - first) / (written[last] - written[first])


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def side_by_side(loops: int, work: Callable[[int], object]) -> float:
    """Seconds until so many loops have ended, each in a process of its own."""
    start = time.perf_counter()
    children = []
    for number in range(loops):
        child = os.fork()
        if not child:
            try:
                work(number)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - start


def without_digests() -> contextlib.ExitStack:
    """Take the digests out of the product while the block runs: what is there counts as done."""
    out = contextlib.ExitStack()
    zeros = MaskOrigin()
    for where, replacement in (
        ("wsss_core.data.image_decoding.content_hash", lambda content: zeros.image),
        ("studies.masks.files._end", lambda content, origin: b"\0\0\0\0IEND\xaeB`\x82"),
        (
            "studies.masks.completed.mask_state",
            lambda job, name, earlier: (
                MaskState.DONE if job.mask_file(name).exists() else MaskState.MISSING
            ),
        ),
    ):
        out.enter_context(mock.patch(where, replacement))
    return out


def cost_of_digests(job: Callable[[str], MaskJob], rounds: int = 8) -> dict[str, float]:
    """Ratios of processor time with digests to that without, medians of rounds in turn.

    Digests cost processor time alone; wall time holds the disk's too, which varies much more.
    """
    ratios: dict[str, list[float]] = {"make": [], "again": [], "again_ms": []}
    kinds = [("with", contextlib.nullcontext), ("without", without_digests)]
    make_missing_masks(job("first"), in_process=True)
    for number in range(rounds):
        found = {}
        for kind, context in kinds if number % 2 else kinds[::-1]:
            for what in ("make", "again"):
                with context():
                    out = job(f"{kind}-{number}")
                    start = time.process_time()
                    make_missing_masks(out, in_process=True)
                    found[what, kind] = time.process_time() - start
        for what in ("make", "again"):
            ratios[what].append(found[what, "with"] / found[what, "without"])
        ratios["again_ms"].append(1000 * (found["again", "with"] - found["again", "without"]))
    return {name: statistics.median(values) for name, values in ratios.items()}


def differing(one: Path, other: Path) -> float:
    """Share of the pixels of two folders of masks that differ."""
    found = total = 0
    for file in one.rglob("*.png"):
        mine = np.asarray(Image.open(file))
        found += int((mine != np.asarray(Image.open(other / file.relative_to(one)))).sum())
        total += mine.size
    return found / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--size", type=int, default=128, help="of images and network [128]")
    parser.add_argument("--refine", choices=CHAINS, default="crf")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--memory-only", action="store_true", help="leave the plain loop out")
    parser.add_argument("--digests", action="store_true", help="what the digests cost, no more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="    %(message)s", stream=sys.stdout)
    if not hasattr(os, "sched_getaffinity"):
        parser.error("needs Linux, for /proc")
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", arguments.images, arguments.size)

        def job(out: str, refine: str = arguments.refine, images: str = "images") -> MaskJob:
            made = recipe(folder, arguments.size, refine)
            return MaskJob(made, str(folder / images), str(folder / out))

        print(f"{arguments.images} crops of {arguments.size} px, refinement {arguments.refine}")
        if arguments.digests:
            logging.disable()
            cost = cost_of_digests(job)
            print(
                f"with digests to without: making {cost['make']:.3f}, expected at most 1.1; a "
                f"second run that finds all done compares them in {cost['again_ms']:.0f} ms more"
            )
            return
        record: dict[str, Any] = {}
        with MemoryOverTime(folder / "spread", arguments.images) as memory:
            spread = seconds(lambda: make_missing_masks(job("spread"), batch=arguments.batch))
        record["memory_mib"] = memory.mib
        record["ray_data"] = arguments.images / spread
        print(f"Ray Data, {cores} cores: {record['ray_data']:.2f} images/s ({spread:.1f} s)")
        print(
            "memory of all processes at "
            + ", ".join(
                f"{share:.0%} {mib:.0f} MiB" for share, mib in zip(MOMENTS, memory.mib, strict=True)
            )
        )
        if not arguments.memory_only:
            some = min(arguments.images, 20 * DISTINCT)
            write_images(folder / "some", some, arguments.size)
            both = side_by_side(
                cores,
                lambda number: make_missing_masks(
                    job(f"both-{number}", images="some"), in_process=True
                ),
            )
            alone = seconds(lambda: make_missing_masks(job("alone"), in_process=True))
            record["plain_loop"] = arguments.images / alone
            record["ratio"] = alone / spread
            print(f"plain loop, one thread: {record['plain_loop']:.2f} images/s ({alone:.1f} s)")
            record["steady"] = [steady_rate(folder / out) for out in ("spread", "alone")]
            record["steady_ratio"] = record["steady"][0] / record["steady"][1]
            record["bound"] = cores * some / both / record["plain_loop"]
            print(
                f"ratio {record['ratio']:.2f}, once workers are up {record['steady_ratio']:.2f}; "
                f"{cores} loops side by side {record['bound']:.2f}"
            )
            for file in (folder / "alone").rglob("*.png"):
                other = folder / "spread" / file.relative_to(folder / "alone")
                assert file.read_bytes() == other.read_bytes(), f"{file.name} differs"
            if arguments.refine == "crf" and importlib.util.find_spec("pydensecrf"):
                usual = seconds(
                    lambda: make_missing_masks(job("usual", "pydensecrf"), in_process=True)
                )
                record["pydensecrf_loop"] = arguments.images / usual
                record["ratio_to_pydensecrf"] = usual / spread
                record["differing"] = differing(folder / "usual", folder / "spread")
                print(
                    f"plain loop with pydensecrf: {record['pydensecrf_loop']:.2f} images/s; ratio "
                    f"{record['ratio_to_pydensecrf']:.2f}, expected at least {TARGET}; "
                    f"{record['differing']:.4%} of the pixels differ"
                )
    if arguments.json:
        record |= {
            "benchmark": "masks",
            "unit": "images a second of wall time",
            **{key: getattr(arguments, key) for key in ("images", "size", "refine", "batch")},
            "cores": cores,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "ray": ray.__version__,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
