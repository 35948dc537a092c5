"""What sharing saves: the strategies study, against the same trials each on its own.

Shared is one run of `thesis/strategies`: the teacher of a seed is trained once for the rows that it
teaches and is a row of the table itself, and images are decoded once. Alone is what a script per
run does: every trial decodes its images and trains its teacher. Both train in this process, one
unit after the other on one thread, so the ratio of processor times is not disturbed by whatever
else the machine does.

Counted first, a seed of the study's 2 single, 5 teacher-student and 5 co-trained rows, with the
cost of an image through a CNN c, through a ViT v, and of decoding d:

    shared  c + v + 5 (v + c') + 5 (c + v) + d / seeds      c' = the teacher forward only, c / 3
    alone   the same + 5 c + 12 d - d / seeds

so the ratio is what 5 more CNN trainings and 12 decodings weigh beside 12 trainings.

    python benchmarks/sharing.py                         # 2 seeds, 300 images: about 6 min
    python benchmarks/sharing.py --seeds 5 --train 1000  # the study itself, about 2 h on one core
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

from studies.artifacts import ArtifactStore
from studies.plan import make_plan
from studies.runner import run_study
from studies.spec import Study
from studies.spec_file import load_study


def cost(study: Study, folder: Path) -> np.ndarray:
    """Seconds of a run: wall, processor, and of the latter those of decoding; and its trainings."""
    wall, began = time.perf_counter(), time.process_time()
    plan = make_plan(study)
    store = ArtifactStore(folder / "store")
    store.make()
    for images in plan.image_sets:
        images.decode(store)
    decoded = time.process_time() - began
    result = run_study(plan, folder, store, in_process=True, say=lambda _: None)
    if result.failed or result.remaining:
        raise SystemExit(f"trials failed: {result.failed}")
    spent = time.perf_counter() - wall, time.process_time() - began
    return np.array([*spent, decoded, result.trained])


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
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--train", type=int, default=300, help="training scenes [300]")
    parser.add_argument("--size", type=int, default=64, help="of the scenes, in pixels [64]")
    parser.add_argument("--epochs", type=int, default=None, help="[the study's 8]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tune, test = max(2, options.train * 150 // 1000), max(2, options.train * 300 // 1000)
    changes = [
        f"seeds={list(range(options.seeds))}", f"data.train={options.train}",
        f"data.tune={tune}", f"data.test={test}", f"data.size={options.size}",
    ]  # fmt: skip
    if options.epochs:
        changes.append(f"training.epochs={options.epochs}")
    study = load_study("thesis/strategies", changes, [])
    print(f"{platform.machine()}, one thread; {len(study.rows())} rows x {options.seeds} seeds, "
          f"{options.train} + {tune} + {test} scenes of {options.size} px")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shared = cost(study, Path(folder) / "shared")
        each = [
            cost(one, Path(folder) / f"alone-{number}") for number, one in enumerate(alone(study))
        ]
    apart = np.sum(each, axis=0)
    for name, (wall, processor, decoding, trained) in (("shared", shared), ("alone", apart)):
        print(f"{name:7} {wall:8.1f} s wall, {processor:8.1f} s processor, {decoding:6.1f} s of "
              f"them decoding; {trained:.0f} trainings")  # fmt: skip
    wall, processor, *_ = apart / shared
    print(f"alone / shared: {processor:.2f} in processor time, {wall:.2f} by the wall clock")


if __name__ == "__main__":
    main()
