"""Seconds that scheduling adds to a trial: the study runner, Ray Tune used plainly, bare Ray tasks.

The work of a trial is nothing, so all that is measured is overhead. Each way runs a quarter of the
units and then all of them on a Ray that is already up; the slope between the two is what one more
unit costs, the rest is what a run costs once (the first workers, Tune's own start and end).

- the study runner: `studies.tune_runner.run_with_tune` with its searcher, callback and resources;
  only the trainable is replaced. Workers are kept from trial to trial.
- Tune used plainly: `tune.Tuner` over a grid with its defaults, which start a worker for each
  trial and write JSON and CSV logs.
- bare Ray tasks: the floor, without trials, results or retries.

    python benchmarks/tune_overhead.py                       # 40 units each, about 3 min on 2 cores
    python benchmarks/tune_overhead.py --units 16 --json overhead.json
"""

import argparse
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints tables in spite of verbose=0

import ray
from ray import tune


def bare_tasks(count: int, folder: Path) -> None:
    @ray.remote(num_cpus=1)
    def nothing(number: int) -> int:
        return number

    ray.get([nothing.remote(number) for number in range(count)])


def plain_tune(count: int, folder: Path) -> None:
    def nothing(config: dict[str, Any]) -> None:
        tune.report({"status": "ok"})

    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space={"seed": tune.grid_search(list(range(count)))},
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()


def study_runner(count: int, folder: Path) -> None:
    from studies import tune_runner
    from studies.artifacts import ArtifactStore
    from studies.plan import make_plan
    from studies.progress import Progress
    from studies.runner import run_context
    from studies.spec import Study

    study = Study.model_validate({
        "study": "overhead",
        "title": "What does scheduling cost?",
        "data": {"source": "scenes", "size": 32, "train": 4, "tune": 2, "test": 2},
        "backbones": {"cnn": {"model": "resnet18"}},
        "seeds": list(range(count)),
        "configurations": [{"paradigm": "single", "student": "cnn"}],
        "resources": {"gpus": 0, "memory_gb": 0.1},
    })  # fmt: skip

    def nothing(config: dict[str, Any], context: dict[str, Any]) -> None:
        tune.report({"ended": 1, "status": "ok", "error": None})

    plan = make_plan(study)
    pending = list(plan.units.values())
    store = ArtifactStore(folder / "store")
    store.make()
    context = run_context(plan, store, folder)
    quiet = Progress(pending, lambda line: None)
    trainable, tune_runner._tune_trial = tune_runner._tune_trial, nothing
    try:
        outcomes = tune_runner.run_with_tune(plan, pending, context, None, quiet)
    finally:
        tune_runner._tune_trial = trainable
    assert len(outcomes) == count


def seconds(way: Callable[[int, Path], None], count: int) -> float:
    """The best of up to five runs; one that takes long is not repeated."""
    took: list[float] = []
    while len(took) < 5 and sum(took) < 10:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            way(count, Path(folder))
            took.append(time.perf_counter() - start)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=40)
    parser.add_argument("--cpus", type=int, default=2, help="that Ray may use, one a unit [2]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    few = max(1, arguments.units // 4)
    if few == arguments.units:
        parser.error("--units: expected at least 2")

    ray.init(
        address="local",
        num_cpus=arguments.cpus,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    bare_tasks(arguments.cpus, Path())  # the first workers
    # Tune used plainly comes first: importing the study runner switches Tune's own logs off.
    ways = {
        "bare Ray tasks": bare_tasks,
        "Tune used plainly": plain_tune,
        "the study runner": study_runner,
    }
    rows = []
    total = f"all {arguments.units}"
    print(f"seconds {total:>22}{'all, a unit':>14}{'one more':>12}{'once':>10}")
    for name, way in ways.items():
        short, long = seconds(way, few), seconds(way, arguments.units)
        each = (long - short) / (arguments.units - few)
        once = long - each * arguments.units
        rows.append({"way": name, "all": long, "one_more": each, "once": once})
        print(
            f"{name:20}{long:10.2f}{long / arguments.units:14.4f}{each:12.4f}{once:10.2f}",
            flush=True,
        )
    ray.shutdown()
    if arguments.json:
        record = {
            "benchmark": "tune_overhead",
            "unit": "seconds of wall time",
            "units": arguments.units,
            "cpus": arguments.cpus,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "ray": ray.__version__,
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
