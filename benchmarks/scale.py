"""What thousands of trials cost beside their training: plan, run, run again, status, page.

Training is a no-op throughout. Five sections, each a line or more with its numbers:

(a) the plan of a study with three refinement chains, and its listing (`wsss plan`);
(b) scheduling trials that end at once: `wsss run`'s scheduler, bare Ray tasks, Tune used plainly;
    each in a process of its own, whose memory is the driver's;
(c) `wsss run` again when all is done, (d) `wsss status`, (e) `wsss report`, over a store and a
    ledger as a finished study leaves them, 400 score rows a trial. First looks have nothing derived
    to start from; the ones after them have.

    python benchmarks/scale.py                                # 5,000 trials, 3 GiB for a while
    python benchmarks/scale.py --trials 500 --run-trials 60   # quick
    python benchmarks/scale.py --sections b --run-trials 5000
    python benchmarks/scale.py --sections cde --against ../older   # a checkout of 6d4fdaa beside
    python benchmarks/scale.py --sections e --trials 100000 --images 8   # 10 GiB for a while
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints tables in spite of verbose=0


from scale_ledger import IMAGES, study_of, unsynced, write_finished

import studies.spec.study
from studies.cli.plan_text import describe_plan
from studies.planning.job import TrainingJob
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore

# --- (a) the plan ---------------------------------------------------------------------------------


def plan_seconds(trials: int, folder: Path) -> dict[str, Any]:
    """Seconds of planning a study with three chains, and of listing it."""
    study = Study.model_validate(study_of(trials, refined=True))
    started, cpu_started = time.perf_counter(), time.process_time()
    plan = make_plan(study)
    planned, cpu_planned = time.perf_counter(), time.process_time()
    store = ArtifactStore(folder / "none")
    store.make()
    listed_from = time.perf_counter()
    describe_plan(plan, store, folder)
    return {
        "trials": len(plan.trials),
        "plan": planned - started,
        "plan_cpu": cpu_planned - cpu_started,
        "listing": time.perf_counter() - listed_from,
    }


# --- (b) scheduling -------------------------------------------------------------------------------


def _memory() -> float:
    """What this process holds, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class _Samples:
    """When each trial ended, and what the driver held then."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float]] = []

    def add(self) -> None:
        self.rows.append((time.perf_counter(), _memory()))


def bare_tasks(count: int, folder: Path, samples: _Samples) -> None:
    """The floor: no trials, results or retries."""
    import ray

    @ray.remote(num_cpus=1)
    def nothing(number: int) -> int:
        return number

    waiting = [nothing.remote(number) for number in range(count)]
    while waiting:
        ended, waiting = ray.wait(waiting)
        ray.get(ended)
        samples.add()


def plain_tune(count: int, folder: Path, samples: _Samples) -> None:
    """A grid with Tune's defaults: a worker for each trial, JSON, CSV and TensorBoard logs."""
    from ray import tune

    class Count(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            samples.add()

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"status": "ok"})

    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space={"seed": tune.grid_search(list(range(count)))},
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Count()]),
    ).fit()


def study_runner(count: int, folder: Path, samples: _Samples) -> None:
    """`run_with_tune` as it is, but for the trial itself, which ends at once."""
    from ray import tune

    from studies.ray_tune import runner as tune_runner
    from studies.scheduling.progress import Progress
    from studies.stages.handover import JobStatus, Outcome, RunContext

    def nothing(config: dict[str, Any], **_: Any) -> None:
        tune.report({"ended": 1, "outcome": Outcome(JobStatus.OK, seconds=0.0)})

    class Sampling(Progress):
        def ended(self, job: TrainingJob, outcome: Outcome) -> None:
            super().ended(job, outcome)
            samples.add()

    plan = make_plan(Study.model_validate(study_of(count)))
    pending = list(plan.jobs.values())
    store = ArtifactStore(folder / "store")
    store.make()
    tune_runner._tune_trial = nothing
    context = RunContext.of(plan, store, folder)
    # No image is decoded and no network built here, so nothing is asked of the nodes.
    tune_runner.check_nodes = lambda *_, **__: None
    tune_runner.run_with_tune(plan, pending, context, None, Sampling(pending))


WAYS = {"bare Ray tasks": bare_tasks, "Tune used plainly": plain_tune, "wsss run": study_runner}


def run_way(name: str, count: int, cpus: int) -> dict[str, Any]:
    """One way in this process: seconds and driver memory per trial, of its second to last fifth."""
    import logging

    import ray

    from studies.cluster.session_folder import ray_session_folder

    ray.init(
        address="local",
        _temp_dir=ray_session_folder(),
        num_cpus=cpus,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    samples = _Samples()
    with tempfile.TemporaryDirectory() as folder:
        WAYS[name](count, Path(folder), samples)
    ray.shutdown()
    ends = [samples.rows[min(len(samples.rows) - 1, len(samples.rows) * k // 5)] for k in range(6)]
    fifth = len(samples.rows) / 5
    return {
        "way": name,
        "trials": len(samples.rows),
        "seconds_a_trial": (ends[5][0] - ends[1][0]) / (4 * fifth),
        "early": (ends[2][0] - ends[1][0]) / fifth,
        "late": (ends[5][0] - ends[4][0]) / fifth,
        "mib_at_start": ends[0][1],
        "mib_at_end": ends[5][1],
        "kib_a_trial": 1024 * (ends[5][1] - ends[1][1]) / (4 * fifth),
    }


def _in_own_process(name: str, count: int, cpus: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--way", name, "--run-trials", str(count)]
    done = subprocess.run(
        [*command, "--cpus", str(cpus)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- (c), (d), (e): commands over what a run has left ---------------------------------------------


# In a small process, as a child's peak memory is no less than its parent's when it was started.
_MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
cpu = usage.ru_utime + usage.ru_stime
found = {"seconds": seconds, "cpu": cpu, "mib": usage.ru_maxrss / 1024}
print(json.dumps({"code": os.waitstatus_to_exitcode(status), **found}))
"""


def command(*arguments: str) -> dict[str, float]:
    """Run `wsss`, see `measured`."""
    return measured([sys.executable, "-m", "studies.cli.main", *arguments])


def measured(words: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a program: its seconds, those of CPU time, and its largest process in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *words],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    if found.pop("code"):
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return found


def finished_study(
    trials: int, folder: Path, images: int = IMAGES, *, with_store: bool = True
) -> tuple[Path, int, int]:
    """Leave a finished study in `folder/results`; return its file, its trials and score rows."""
    spec = folder / "scale.yaml"
    content = study_of(trials, images=images)
    spec.write_text(json.dumps(content))  # JSON is YAML
    # A study of more trials than a study file may ask for is measured too.
    studies.spec.study.MOST_RESULTS = max(studies.spec.study.MOST_RESULTS, trials)
    plan = make_plan(Study.model_validate(content))
    results = folder / "results"
    with unsynced():
        rows = write_finished(
            plan, ArtifactStore(results / "store"), results, with_store=with_store
        )
    return spec, len(plan.trials), rows


def commands_over(
    trials: int, folder: Path, sections: str = "cde", images: int = IMAGES
) -> dict[str, Any]:
    """Seconds and memory of the commands over a finished study."""
    results = folder / "results"
    started = time.perf_counter()
    spec, count, rows = finished_study(trials, folder, images, with_store="c" in sections)
    found: dict[str, Any] = {"trials": count, "score_rows": rows}
    print(
        f"  ({rows:,} rows of scores written in {time.perf_counter() - started:.0f} s)", flush=True
    )
    if "c" in sections:
        run = ("run", str(spec), "--results", str(results))
        found["run again"] = command(*run)
        found["run again, later"] = command(*run)
        if (results / "derived").is_dir():
            for file in (results / "derived").iterdir():
                file.unlink()
    if "d" in sections:
        for name in ("status, first look", "status"):
            found[name] = command("status", str(results))
    if "e" in sections:
        for name in ("report, first", "report"):
            found[name] = command("report", str(results))
        found["page MiB"] = (results / "report" / "report.html").stat().st_size / 2**20
    return found


def of_older(checkout: Path, trials: int) -> dict[str, Any]:
    """The figures of the commands of an older revision, by its own copy of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "older.json"
        words = ["--sections", "cde", "--trials", str(trials), "--json", str(file)]
        subprocess.run(
            [sys.executable, "benchmarks/scale.py", *words],
            cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--trials", type=int, default=5000, help="of the plan and the ledger [5000]"
    )
    parser.add_argument("--run-trials", type=int, default=200, help="that are scheduled [200]")
    parser.add_argument("--cpus", type=int, default=2, help="that Ray may use, one a trial [2]")
    parser.add_argument("--sections", default="abcde", help="[abcde]")
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="scored in each trial, of c, d and e [400]"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--against", type=Path, metavar="DIR",
        help="measure c, d and e of the checkout of an older revision too, and print the ratios",
    )  # fmt: skip
    options = parser.parse_args()
    if options.way:
        print(json.dumps(run_way(options.way, options.run_trials, options.cpus)))
        return
    sizes = [max(50, options.trials // 5), options.trials]
    record: dict[str, Any] = {
        "benchmark": "scale", "machine": platform.machine(), "cores": os.cpu_count(),
        "python": platform.python_version(),
    }  # fmt: skip
    if "a" in options.sections:
        plan_seconds(50, Path(tempfile.gettempdir()))  # loads what has to be loaded
        record["plan"] = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                found = plan_seconds(size, Path(folder))
            record["plan"].append(found)
            print(
                f"(a) plan, {found['trials']:6,} trials with three chains: {found['plan']:6.2f} s "
                f"(CPU {found['plan_cpu']:.2f} s), "
                f"its listing {found['listing']:.2f} s", flush=True,
            )  # fmt: skip
    if "b" in options.sections:
        record["run"] = []
        for way in WAYS:
            found = _in_own_process(way, options.run_trials, options.cpus)
            record["run"].append(found)
            print(
                f"(b) {way:18} {found['trials']:5} trials: {1000 * found['seconds_a_trial']:7.1f} "
                f"ms a trial ({1000 * found['early']:.1f} early, {1000 * found['late']:.1f} late), "
                f"driver {found['mib_at_start']:.0f} to {found['mib_at_end']:.0f} MiB, "
                f"{found['kib_a_trial']:.1f} KiB a trial", flush=True,
            )  # fmt: skip
    if set("cde") & set(options.sections):
        record["commands"] = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                found = commands_over(size, Path(folder), options.sections, options.images)
            record["commands"].append(found)
        small, large = record["commands"]
        for mark, name in (
            ("c", "run again"), ("c", "run again, later"),
            ("d", "status, first look"), ("d", "status"),
            ("e", "report, first"), ("e", "report"),
        ):  # fmt: skip
            if name not in small:
                continue
            more = (large[name]["cpu"] - small[name]["cpu"]) / (large["trials"] - small["trials"])
            each = ", ".join(
                f"{one['trials']:,} trials {one[name]['seconds']:.1f} s "
                f"(CPU {one[name]['cpu']:.1f} s, {one[name]['mib']:.0f} MiB)"
                for one in (small, large)
            )
            print(f"({mark}) {name:18} {each}; CPU of one more {1000 * more:.2f} ms", flush=True)
    if options.against:
        record["against"] = older = of_older(options.against, options.trials)
        for name, before in older["commands"][-1].items():
            if isinstance(before, dict) and name in (now := record["commands"][-1]):
                print(
                    f"(c-e) {name:18} before {before['cpu']:6.1f} s of processor time, "
                    f"now {now[name]['cpu']:6.1f} s: {before['cpu'] / now[name]['cpu']:.1f} times"
                )
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
