"""Images a second of teacher-student training, beside a naive loop; memory of co-training.

Both train the same student with the same frozen teacher, cosine global. `wsss_core.training.train`
reads decoded images from a memory-mapped uint8 array, runs a CNN channels-last, and on CUDA runs
networks under bfloat16. The naive loop is what a user would write first: each image is decoded from
its PNG file whenever it is needed, everything is float32 and contiguous.

The work: a student's forward and backward pass (3 units of its forward pass) and the teacher's
forward pass (1 unit of its own); decoding is on top. How long each loop waits for images is taken
on its own, by fetching all batches without training on them. One thread on the CPU.

    python benchmarks/transfer_step.py                    # about two minutes
    python benchmarks/transfer_step.py --device cuda --size 224 --json transfer_step.json
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from wsss_core.backbones import Network, build_network
from wsss_core.data.network_input import to_input
from wsss_core.data.scenes.scene import SceneSettings
from wsss_core.data.scenes.source import SceneSource
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, TeacherStudent


def networks(size: int) -> tuple[Network, Network]:
    """A ViT student and a ResNet-18 teacher; those of the quickstart below 128 px."""
    torch.manual_seed(0)
    small = size < 128
    vit = {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3} if small else {}
    cnn = {"channels": (16, 32, 64, 128)} if small else {}
    student = build_network("vit_tiny_patch16_224", classes=1, image_size=size, options=vit)
    stride = 8 if small else 16
    teacher = build_network(
        "resnet18", classes=1, image_size=size, output_stride=stride, options=cnn
    )
    return student, teacher


def batches(count: int, batch_size: int) -> Iterator[np.ndarray]:
    yield from np.array_split(np.random.permutation(count), -(-count // batch_size))


def naive_epoch(
    student: Network, teacher: Network, files: list[Path], labels: np.ndarray, batch_size: int,
    device: str,
) -> Callable[[], None]:  # fmt: skip
    student, teacher = student.to(device), teacher.to(device).requires_grad_(False).eval()
    teacher.to(memory_format=torch.contiguous_format)
    projection = torch.nn.Conv2d(student.channels, teacher.channels, 1).to(device)
    optimizer = torch.optim.AdamW([*student.parameters(), *projection.parameters()], lr=1e-4)

    def epoch() -> None:
        student.train()
        for chosen in batches(len(files), batch_size):
            images = decoded(files, chosen).to(device)
            targets = torch.from_numpy(labels[chosen].astype(np.float32)).to(device)
            ours = student(images)
            with torch.no_grad():
                theirs = teacher(images)
            mine = projection(ours.features)
            if mine.shape != theirs.features.shape:
                mine = F.interpolate(mine, theirs.features.shape[-2:], mode="bilinear")
            distance = 1 - F.cosine_similarity(mine.flatten(1), theirs.features.flatten(1)).mean()
            loss = F.binary_cross_entropy_with_logits(ours.logits, targets) + distance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def decoded(files: list[Path], chosen: np.ndarray) -> torch.Tensor:
    pixels = [np.asarray(Image.open(files[index]).convert("RGB")) for index in chosen]
    return torch.stack([torch.from_numpy(one.copy()).permute(2, 0, 1).float() / 255
                        for one in pixels])  # fmt: skip


def timed(work: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def co_training_memory(size: int, images: np.ndarray, labels: np.ndarray, batch_size: int,
                       device: str) -> float:  # fmt: skip
    """Peak MiB of one co-training step: of the GPU, or what the process grew by on a CPU."""
    student, teacher = networks(size)
    alignment = Alignment(student, teacher, metric="cosine", level="global")
    paradigm = CoTraining(student, teacher, alignment, 1.0)
    settings = TrainingSettings(epochs=1, batch_size=batch_size)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    train(paradigm, images[:batch_size], labels[:batch_size], settings, seed=0, device=device)
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, batch_size, device = arguments.size, arguments.batch_size, arguments.device
    source = SceneSource(SceneSettings(size=size), train=arguments.images, tune=1, test=1)
    split = source.read("train", size)
    # First, as a process's peak only grows.
    memory = co_training_memory(size, split.images, split.labels, batch_size, device)
    with tempfile.TemporaryDirectory() as folder:
        mapped = Path(folder) / "images.npy"
        np.save(mapped, split.images)
        images = np.load(mapped, mmap_mode="r")
        files = [Path(folder) / f"{index}.png" for index in range(len(images))]
        for file, pixels in zip(files, images, strict=True):
            Image.fromarray(np.asarray(pixels)).save(file)
        student, teacher = networks(size)
        paradigm = TeacherStudent(
            student, teacher, Alignment(student, teacher, metric="cosine", level="global"), 1.0
        )
        settings = TrainingSettings(epochs=1, batch_size=batch_size)

        def fetch_mapped() -> None:
            for chosen in batches(len(images), batch_size):
                to_input(images[chosen], device)

        def fetch_decoded() -> None:
            for chosen in batches(len(images), batch_size):
                decoded(files, chosen).to(device)

        loops: dict[str, Callable[[], object]] = {
            "package": lambda: train(
                paradigm, images, split.labels, settings, seed=0, device=device
            ),
            "naive": naive_epoch(*networks(size), files, split.labels, batch_size, device),
            "package, data alone": fetch_mapped,
            "naive, data alone": fetch_decoded,
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for repeat in range(arguments.repeats + 1):
            for name, loop in loops.items():
                took = timed(loop, device)
                if repeat:  # the first warms up
                    seconds[name].append(took)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: len(images) / medians[name] for name in ("package", "naive")}
    waiting = {n: medians[f"{n}, data alone"] / medians[n] for n in ("package", "naive")}
    print(f"teacher-student step at {size} px, batch {batch_size}, {device}")
    for name in ("package", "naive"):
        print(f"  {name:8} {rates[name]:7.0f} images/s   {100 * waiting[name]:5.1f} % on data")
    print(f"  ratio    {rates['package'] / rates['naive']:7.2f}")
    print(f"co-training, one step of {batch_size}: {memory:.0f} MiB more at its peak")
    if arguments.json:
        record = {
            "benchmark": "transfer_step", "device": device, "size": size,
            "images": arguments.images, "batch_size": batch_size, "rates": rates,
            "share_of_time_on_data": waiting, "ratio": rates["package"] / rates["naive"],
            "co_training_peak_mib": memory, "seconds": seconds,
            "machine": platform.machine(), "torch": torch.__version__,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
