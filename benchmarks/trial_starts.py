"""Seconds from a trial's end to the next one's first step on a GPU: warmed and new processes.

A study of short trials runs twice, in a Ray that lends a GPU which is not there, so trials train on
the CPU. Once each trial is forked from a warmed process, as the toolkit does it; once each
has a new worker of Ray, which imports PyTorch and timm. The rest is the same: Ray Tune, the driver,
leases, the ledger. The clock runs from the moment that a trial has been scored and published to the
moment that the next one has taken its first training step.

    python benchmarks/trial_starts.py                   # 12 trials each, about 3 min on two cores
    python benchmarks/trial_starts.py --trials 4 --json trial_starts.json
"""

import argparse
import importlib
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WSSS_SIMULATED_GPUS"] = "1"
HERE = str(Path(__file__).resolve().parent)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [HERE, str(Path(HERE).parent), os.environ.get("PYTHONPATH", "")]
)

GOAL = 0.8
STUDY: dict[str, Any] = {
    "study": "starts",
    "title": "How soon does a trial start?",
    "data": {"source": "scenes", "size": 64, "train": 64, "tune": 16, "test": 16},
    "backbones": {
        "vit": {
            "model": "vit_tiny_patch16_224",
            "options": {"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3},
        },
    },
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
    "configurations": [{"paradigm": "single", "student": "vit"}],
    "resources": {"memory_gb": 0.25, "gpus": 1},
}


def timed(job: Any, context: Any, request: Any) -> Any:
    """Run a trial and note when it had taken its first step, and when it had ended."""
    import wsss_core.training.loop
    from studies.stages.job import run_with_share

    moments: list[float] = []
    progress = wsss_core.training.loop.made_progress

    def noted() -> None:
        if not moments:
            moments.append(time.time())
        progress()

    wsss_core.training.loop.made_progress = noted
    outcome = run_with_share(job, context, request)
    wsss_core.training.loop.made_progress = progress
    with Path(os.environ["STARTS_LOG"]).open("a") as log:
        log.write(json.dumps([*moments, time.time()]) + "\n")
    return outcome


def measure(trials: int, log: Path, folder: Path, *, warm: bool) -> list[float]:
    """Return the seconds between trials of a study, the driver's and Ray's work included."""
    import studies.ray_tune.runner as tune_runner
    from studies.planning import make_plan
    from studies.runner import run_plan
    from studies.spec.study import Study
    from studies.store import ArtifactStore

    def trial(config: Any, **given: Any) -> None:
        import studies.ray_tune.trial as in_worker

        in_worker.WORK, in_worker.OWN_PROCESS = "trial_starts:timed", warm
        if not warm:
            import studies.stages

            studies.stages.run_with_share = importlib.import_module("trial_starts").timed
        in_worker.run_trial(config, **given)

    tune_runner._tune_trial, tune_runner.OWN_PROCESS = trial, warm
    tune_runner.check_nodes = lambda *_, **__: None  # PyTorch does not see the GPU that Ray lends
    log.write_text("")
    plan = make_plan(Study.model_validate({**STUDY, "seeds": list(range(trials))}))
    result = run_plan(plan, folder / "results", ArtifactStore(folder / "store"))
    assert result.trained == trials, result
    moments = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(moments) == trials
    return [began - ended for (_, ended), (began, _) in itertools.pairwise(moments)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each kind [12]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    if arguments.trials < 3:
        parser.error("--trials: expected at least 3")

    from studies.cluster.ray_start import ray

    found: dict[str, list[float]] = {}
    print("from one trial's end to the next one's first step, seconds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["STARTS_LOG"] = str(folder / "log")
        for kind in ("warmed", "new"):
            ray.init(
                address="local", num_cpus=2, num_gpus=1, object_store_memory=80 * 2**20,
                include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
            )  # fmt: skip
            warm = kind == "warmed"
            found[kind] = measure(arguments.trials, folder / "log", folder / kind, warm=warm)
            ray.shutdown()
            seconds = found[kind]
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(
                f"  {kind:<8}{middle:6.2f} ({low:.2f} to {high:.2f}, {len(seconds)} gaps)",
                flush=True,
            )
    print(f"expected: at most {GOAL} with warmed processes")
    if arguments.json:
        record = {
            "benchmark": "trial_starts",
            "unit": "seconds from a trial's end to the next one's first step",
            "gaps": found,
            "machine": platform.machine(),
            "python": platform.python_version(),
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    main()
