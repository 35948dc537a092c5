"""Where the processor time of a training step goes, and quickstart's trainings beside a checkout.

For each of quickstart's paradigms a step is taken apart, on one thread: its arithmetic is counted
(`torch.utils.flop_counter`) and set beside what a large matrix product reaches on this core in the
same run; the profiler says which operators take the time. What is left is Python and PyTorch's own
dispatch. Freed memory is kept, as a worker does it, and for comparison given back at once.

With `--against CHECKOUT`, both toolkits run a smaller quickstart in turn. The processor time of its
trainings, with making what is kept of frozen teachers, and the losses of each epoch are compared.

    python benchmarks/steps.py                                          # a minute
    python benchmarks/steps.py --against CHECKOUT --repeats 3           # some 10 minutes more
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import wsss_core.training.loop as loop
from reports.ledger.parts import read_table
from studies.stages import keep_freed_memory
from wsss_core.backbones import build_network
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, Paradigm, Single, TeacherStudent

GOAL = 0.85
LOSSES = 1e-5
SIZE, BATCH, STEPS = 64, 32, 10
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn": (
        "resnet18",
        {"output_stride": 8, "options": {"channels": (16, 32, 64, 128)}},
    ),
    "vit": (
        "vit_tiny_patch16_224",
        {"options": {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}},
    ),
}
KINDS = {
    "convolutions and products": (
        "conv", "mm", "mkldnn", "attention", "matmul", "linear", "bmm",
    ),
    "normalisation": ("norm",),
    "optimizer": ("_foreach", "_fused", "adam"),
}  # fmt: skip
"""Kinds of operators, by parts of their names; the first that fits counts."""


def network(kind: str) -> Any:
    torch.manual_seed(0)
    model, options = MODELS[kind]
    return build_network(model, classes=1, image_size=SIZE, **options)


def paradigm(kind: str) -> Paradigm:
    if kind in MODELS:
        return Single(network(kind))
    student, teacher = network("vit"), network("cnn")
    alignment = Alignment(student, teacher, metric="cosine", level="global")
    made = TeacherStudent if kind == "taught" else CoTraining
    return made(student, teacher, alignment, 20.0, 0.0)


def epochs(kind: str, count: int, on_epoch: Callable[[Any], None] | None = None) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (STEPS * BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    labels = (np.arange(len(images)) % 2 == 0)[:, None]
    settings = TrainingSettings(epochs=count, batch_size=BATCH, learning_rate=5e-4, flip=True)
    train(paradigm(kind), images, labels, settings, seed=0, on_epoch=on_epoch)


def milliseconds_a_step(kind: str, repeats: int) -> float:
    """Return the processor time of a step, the median of epochs after the first."""
    moments = [time.process_time()]
    epochs(kind, repeats + 1, lambda _: moments.append(time.process_time()))
    return 1e3 * statistics.median(np.diff(moments)[1:]) / STEPS


def milliseconds_on_data(kind: str) -> float:
    """Return the processor time that a step spends on making its views."""
    spent = []
    views = loop.sample_views

    def timed(*arguments: Any) -> Any:
        began = time.process_time()
        try:
            return views(*arguments)
        finally:
            spent.append(time.process_time() - began)

    loop.sample_views = timed
    try:
        epochs(kind, 2)
    finally:
        loop.sample_views = views
    return 1e3 * statistics.median(spent)


def operators(kind: str) -> dict[str, float]:
    """Return the time in operators of a step by their kind, in milliseconds of elapsed time."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        epochs(kind, 2)
    found = dict.fromkeys([*KINDS, "other operators"], 0.0)
    for event in seen.key_averages():
        if event.key.startswith(("ProfilerStep", "autograd::engine", "Optimizer.")):
            continue
        name = event.key.lower()
        kinds = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
        found[next(kinds, "other operators")] += event.self_cpu_time_total / 1e3
    return {name: total / (2 * STEPS) for name, total in found.items()}


def gflop_a_step(kind: str) -> float:
    with FlopCounterMode(display=False) as counted:
        epochs(kind, 1)
    return counted.get_total_flops() / STEPS / 1e9


def peak_gflop_per_s() -> float:
    """Return what a product of two 1,024 x 1,024 matrices reaches on one thread, best of 10."""
    left, right = torch.rand(2, 1024, 1024)
    best = float("inf")
    for _ in range(11):
        began = time.process_time()
        left @ right
        best = min(best, time.process_time() - began)
    return 2 * 1024**3 / best / 1e9


def take_apart(kinds: list[str], repeats: int) -> list[dict[str, Any]]:
    peak = peak_gflop_per_s()
    print(f"one thread: {peak:.0f} GFLOP/s in a large product; batches of {BATCH} at {SIZE} px")
    given_back = {kind: milliseconds_a_step(kind, repeats) for kind in kinds}
    keep_freed_memory()
    rows = []
    for kind in kinds:
        step, gflop, by_kind = milliseconds_a_step(kind, repeats), gflop_a_step(kind), None
        by_kind = operators(kind)
        total = sum(by_kind.values())
        shares = {name: value / max(total, step) for name, value in by_kind.items()}
        row = {
            "kind": kind,
            "ms": step,
            "ms_given_back": given_back[kind],
            "gflop": gflop,
            "share_of_peak": gflop / peak / (step / 1e3),
            "data": milliseconds_on_data(kind) / step,
            "operators": shares,
        }
        rows.append(row)
        print(
            f"{kind:<11}{step:7.1f} ms a step ({given_back[kind]:.1f} with memory given back), "
            f"{gflop:.2f} GFLOP, {row['share_of_peak']:.0%} of the peak, data {row['data']:.1%}; "
            + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
            flush=True,
        )
    return rows


SMALLER = ["seeds=[0]", "training.epochs=4", "data.train=400", "data.tune=50", "data.test=50"]


COMMAND = """
import importlib
import importlib.util
import sys
import time

import wsss_core.training


def timed(work):
    def run(*arguments, **options):
        began = time.process_time()
        try:
            return work(*arguments, **options)
        finally:
            with open(LOG, "a") as file:
                print(time.process_time() - began, file=file)

    return run


LOG = sys.argv[1]
wsss_core.training.train = timed(wsss_core.training.train)
if importlib.util.find_spec("studies.stages"):
    import studies.stages.features

    # A frozen teacher's maps are made once, before the first training that needs them.
    studies.stages.features.attach_caches = timed(studies.stages.features.attach_caches)
package = importlib.util.find_spec("studies.cli").submodule_search_locations
name = "studies.cli.main" if package else "studies.cli"
sys.exit(importlib.import_module(name).main(sys.argv[2:]))
"""
"""`wsss`, of either revision, that notes the processor time of each training."""


def quickstart(checkout: Path, folder: Path) -> float:
    """Run a smaller quickstart in one process; return the processor seconds of its trainings."""
    sets = [part for value in SMALLER for part in ("--set", value)]
    log = folder.with_suffix(".log")
    subprocess.run(
        [sys.executable, "-c", COMMAND, str(log), "run", "quickstart", "--in-process",
         "--results", str(folder), *sets],
        check=True, cwd=folder.parent, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    return sum(map(float, log.read_text().split()))


def losses(folder: Path) -> dict[tuple[str, int], float]:
    table = read_table(folder, "history")
    return {(row.trial_key, row.epoch): row.loss for row in table.itertuples()}


def beside(checkout: Path, repeats: int) -> dict[str, Any]:
    here = Path(__file__).resolve().parents[1]
    spent: dict[str, list[float]] = {"here": [], "there": []}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(repeats):
            found = {}
            sides = [("here", here), ("there", checkout)]
            for side, root in sides if turn % 2 else sides[::-1]:
                folder = Path(name) / f"{side}-{turn}"
                spent[side].append(quickstart(root, folder))
                found[side] = losses(folder)
                print(f"  {side}: {spent[side][-1]:.1f} s of processor time", flush=True)
            shared = found["here"].keys() & found["there"].keys()
            assert shared, "no trial of both"
            differ = max(abs(found["here"][key] - found["there"][key]) for key in shared)
    ratio = statistics.median(a / b for a, b in zip(spent["here"], spent["there"], strict=True))
    print(
        f"quickstart, {', '.join(SMALLER)}: {ratio:.2f} of {checkout.name}'s processor time, "
        f"expected at most {GOAL}; the losses of {len(shared)} epochs differ by {differ:.1e} at "
        f"most, expected at most {LOSSES:g}"
    )
    return {"seconds": spent, "ratio": ratio, "losses_differ": differ, "epochs": len(shared)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="of another revision")
    parser.add_argument("--repeats", type=int, default=3, help="epochs or runs of each [3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "benchmark": "steps",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": take_apart(["cnn", "vit", "taught", "co-trained"], arguments.repeats),
    }
    if arguments.against:
        record["against"] = beside(arguments.against.resolve(), arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
