"""What sharing saves: the strategies study, against the same trials each on its own.

Shared is one run of `thesis/strategies`: the teacher of a seed is trained once for the rows that it
teaches and is a row of the table itself, and images are decoded (scenes: drawn) once. Alone is what
a script per run does: every trial trains its teacher, and its loader decodes a training image each
time it is needed. Both train in this process, one job after the other on one thread, so the ratio
of processor times is not disturbed by whatever else the machine does. What starting a process per
trial would cost is left out.

Counted first, a seed of the study's 2 single, 5 teacher-student and 5 co-trained rows of E epochs,
with the cost of an image through a CNN c, through a ViT v, and of decoding d:

    shared  E (c + v + 5 (v + c') + 5 (c + v)) + d / seeds    c' = the teacher forward only, c / 3
    alone   the same + 5 E c + 17 E d

so sharing teachers is worth 5 more CNN trainings beside 12 trainings, 1.3 to 1.4 where networks
cost alike, and sharing images what decoding weighs beside a training step: much for scenes and for
large photographs, little for small crops. The parts are printed apart.

    python benchmarks/sharing.py                         # 1 seed, 300 images: about 7 min
    python benchmarks/sharing.py --seeds 5 --train 1000  # the study itself, about 2 h on one core
    python benchmarks/sharing.py --variant crops --train 0 --set data.root=DIR ...    # a folder
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from studies.planning.planner import make_plan
from studies.runner import run_plan
from studies.spec.loading import load_study
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore


def cost(study: Study, folder: Path) -> np.ndarray:
    """Seconds of a run: wall, processor, and of the latter those of decoding; and its trainings."""
    wall, began = time.perf_counter(), time.process_time()
    plan = make_plan(study)
    store = ArtifactStore(folder / "store")
    store.make()
    for images in plan.image_sets:
        images.decode(store)
    decoded = time.process_time() - began
    result = run_plan(plan, folder, store, in_process=True)
    if result.failed or result.remaining:
        raise SystemExit(f"trials failed: {result.failed}")
    spent = time.perf_counter() - wall, time.process_time() - began
    return np.array([*spent, decoded, result.trained])


def cost_of_decoding_again(study: Study, trainings: int) -> np.ndarray:
    """Seconds that loaders without a cache spend on the epochs after a trial's first."""
    wall, began = time.perf_counter(), time.process_time()
    for images in make_plan(study).image_sets:
        for _ in range(trainings * study.training.epochs - 1):
            images.source.read("train", images.splits.size)
    spent = time.process_time() - began
    return np.array([time.perf_counter() - wall, spent, spent, 0])


def alone(study: Study) -> list[Study]:
    """The study's trials, one study each."""
    raw = study.model_dump(by_alias=True, exclude_unset=True)
    return [
        Study.model_validate({**raw, "configurations": [row], "seeds": [seed]})
        for seed in study.seeds
        for row in raw["configurations"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--train", type=int, default=300, help="training scenes [300]; 0: as the study has it"
    )
    parser.add_argument("--variant", action="append", default=[], help="of the study")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = [f"seeds={list(range(options.seeds))}", *options.changes]
    if options.train:
        tune, test = max(2, options.train * 150 // 1000), max(2, options.train * 300 // 1000)
        changes += [f"data.train={options.train}", f"data.tune={tune}", f"data.test={test}"]
    study = load_study("thesis/strategies", changes, options.variant)
    count = len(study.named_configurations())
    print(f"{platform.machine()}, one thread; {count} configurations x {options.seeds} seeds, "
          f"{study.training.epochs} epochs at {study.data.size} px")  # fmt: skip
    again = np.zeros(4)
    each = np.zeros(4)
    with tempfile.TemporaryDirectory() as folder:
        shared = cost(study, Path(folder) / "shared")
        for number, one in enumerate(alone(study)):
            spent = cost(one, Path(folder) / f"alone-{number}")
            each += spent
            again += cost_of_decoding_again(one, int(spent[3]))
    ways = {"shared": shared, "own teachers, decoded once a trial": each, "alone": each + again}
    for name, (wall, processor, decoding, trained) in ways.items():
        print(
            f"{name:34} {wall:8.1f} s wall, {processor:8.1f} s processor, {decoding:6.1f} s of "
            f"them decoding; {trained:.0f} trainings; "
            f"{processor / shared[1]:.2f} in processor time, {wall / shared[0]:.2f} by the clock"
        )


if __name__ == "__main__":
    main()
