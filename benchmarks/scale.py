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
"""

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # or Tune prints tables in spite of verbose=0

import numpy as np
import pyarrow as pa
from PIL import Image

from reports.ledger.digest import to_parquet
from reports.ledger.schema import SCHEMAS
from studies.cli.plan_text import describe_plan
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore

SEEDS = 5
TUNE, TEST = 100, 300
PIXELS = 64 * 64
EPOCHS = 8
PANELS = 6


def study_of(trials: int, *, refined: bool = False) -> dict[str, Any]:
    """A study file of so many trials under five seeds: two networks alone, the rest taught."""
    taught = max(2, trials // SEEDS - 2)
    weights = [round(0.01 * (place + 1), 2) for place in range((taught + 1) // 2)]
    teach = {"paradigm": "teacher-student", "student": "vit", "teacher": "cnn", "level": "global"}
    return {
        "study": "scale",
        "title": "What does a study of thousands of trials cost beside its training?",
        "data": {"source": "scenes", "size": 64, "train": 16, "tune": TUNE, "test": TEST},
        "backbones": {
            "cnn": {"model": "resnet18", "label": "CNN"},
            "vit": {"model": "vit_tiny_patch16_224", "label": "ViT"},
        },
        "training": {"epochs": EPOCHS},
        "seeds": list(range(SEEDS)),
        "configurations": [
            {"paradigm": "single", "student": "vit"},
            {"paradigm": "single", "student": "cnn"},
            {**teach, "metric": "cosine", "lambda": weights},
            {**teach, "metric": "l2", "lambda": weights[: taught - len(weights)]},
        ],
        "refine": {"CRF": ["crf"], "PAR": ["par"], "Affinity": ["affinity"]} if refined else {},
        "resources": {"gpus": 0, "memory_gb": 0.1},
    }


# --- a ledger as such a study would leave it -----------------------------------------------------


def _scores_at(low: float, high: float) -> np.ndarray:
    """The share of pixels at each of 256 score levels: a beta distribution."""
    at = (np.arange(256) + 0.5) / 256
    share: np.ndarray = at ** (low - 1) * (1 - at) ** (high - 1)
    return share / share.sum()


class _Scores:
    """Score rows of trials; as drawing takes longer than writing, 97 draws take turns."""

    def __init__(self) -> None:
        count = TUNE + TEST
        split = ["tune"] * TUNE + ["test"] * TEST
        image = [f"images/{name}_{place:05d}.png" for place, name in enumerate(split)]
        self._holds = np.arange(count) % 2 == 0
        none = pa.nulls(count)
        peaks = np.where(self._holds, "object", None)
        self._alike: dict[str, Any] = {
            "network": ["student"] * count, "split": split, "image": image, "group": image,
            "class_name": ["smoke"] * count, "labelled": self._holds, "peak": peaks,
            "logit_without_object": none, "logit_without_context": none, "refinement": none,
        }  # fmt: skip
        self._drawn: dict[int, pa.Table] = {}

    def of(self, key: str, number: int) -> pa.Table:
        """The rows of one trial."""
        draw = number % 97
        if draw not in self._drawn:
            random = np.random.default_rng(draw)
            self._drawn[draw] = self._draw(float(np.clip(random.normal(0.5, 0.1), 0, 1)), random)
        schema = SCHEMAS["scores"]
        place = schema.get_field_index("trial_key")
        keys = pa.array([key] * (TUNE + TEST))
        return self._drawn[draw].set_column(place, schema.field(place), keys)

    def _draw(self, quality: float, random: np.random.Generator) -> pa.Table:
        """Rows of a trial; the better it is, the higher its object and the lower its rest."""
        holds = self._holds
        draw = random.integers
        pixels = {
            "foreground": np.where(holds, draw(100, 900, len(holds)), 0),
            "context": np.where(holds, draw(50, 300, len(holds)), 0),
            "ring": np.where(holds, draw(100, 300, len(holds)), 0),
        }
        at = {
            "foreground": _scores_at(1 + 5 * quality, 2.0),
            "context": _scores_at(4.0, 2 + 4 * quality),
            "ring": _scores_at(2.0, 4.0),
        }
        found = {name: random.multinomial(pixels[name], at[name]) for name in at}
        rest = random.multinomial(PIXELS - sum(pixels.values()), _scores_at(1.2, 8.0))
        background = found["context"] + found["ring"] + rest
        counts = {**found, "background": background}
        columns = {
            **self._alike,
            "trial_key": [""] * len(holds),
            "logit": np.where(holds, 2.0, -2.0) + random.normal(0, 2, len(holds)),
            **{
                name: pa.FixedSizeListArray.from_arrays(
                    pa.array(counts[name].astype(np.uint32).ravel()),
                    256,
                    mask=pa.array(~holds) if name in ("context", "ring") else None,
                )
                for name in counts
            },
        }
        schema = SCHEMAS["scores"]
        return pa.table(
            [pa.array(columns[n], f.type) if not isinstance(columns[n], pa.Array) else
             columns[n].cast(f.type) for n, f in zip(schema.names, schema, strict=True)],
            schema=schema,
        )  # fmt: skip


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def _panel_rows(key: str) -> list[dict[str, Any]]:
    wave = (127 + 120 * np.sin(np.arange(64) / 5)).astype(np.uint8)
    cam = np.minimum(wave[:, None], wave[None])
    images = [_png(np.stack([cam, cam.T, cam], -1)), _png(255 * (cam > 127).astype(np.uint8))]
    return [
        {
            "trial_key": key, "network": "student", "split": "test", "class_name": "smoke",
            "image": f"images/test_{TUNE + place:05d}.png",
            "image_png": images[0], "mask_png": images[1], "cam_png": _png(cam),
        }
        for place in range(PANELS)
    ]  # fmt: skip


def _trial_row(trial: Trial, job: TrainingJob, number: int) -> dict[str, Any]:
    collapsed = number % 500 == 499
    return {
        "trial_key": trial.key, "configuration": trial.configuration, "seed": trial.seed,
        "status": "collapsed" if collapsed else "ok",
        "error": f"student: the loss is not finite in epoch {number % 7}" if collapsed else None,
        "settings": json.dumps(job.settings), "train_fingerprint": "f1" * 8,
        "evaluation_fingerprint": "e2" * 8, "code_revision": "0123abc", "package_version": "0",
        "packages": "{}", "device": "cpu", "host": "node",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=15 * number),
        "seconds_training": 30.0, "seconds_scoring": 1.0, "images_per_second": 500.0,
        "peak_memory_bytes": 2**29, "epochs": EPOCHS, "parameters": 5_000_000,
    }  # fmt: skip


@contextlib.contextmanager
def _unsynced() -> Iterator[None]:
    """Writing without waiting for the disk, as what is written here is thrown away."""
    kept, os.fsync = os.fsync, lambda _: None
    try:
        yield
    finally:
        os.fsync = kept


def write_finished(plan: Plan, store: ArtifactStore, results: Path) -> int:
    """Leave a store and a ledger as if the study had been run.

    Returns:
        How many rows of scores there are.

    """
    scores = _Scores()
    rows = 0
    store.make()
    tables = {name: results / "ledger" / name for name in ("scores", "panels", "history", "trials")}
    for folder in tables.values():
        folder.mkdir(parents=True, exist_ok=True)
    for number, job in enumerate(plan.jobs.values()):
        with store.build("train", job.key, {}) as folder:
            (folder / "outcome.json").write_text("{}")
        for trial in job.trials:
            history: list[dict[str, Any]] = [
                {
                    "trial_key": trial.key, "epoch": epoch + 1, "loss": 1 / (epoch + 1),
                    "classification_loss": 1 / (epoch + 1), "seconds": 3.0,
                }
                for epoch in range(EPOCHS)
            ]  # fmt: skip
            content = {
                "scores": scores.of(trial.key, number),
                "panels": _panel_rows(trial.key),
                "history": history,
                "trials": [_trial_row(trial, job, number)],
            }
            with store.build("scores", trial.key, {"parent": job.key}) as folder:
                for name, found in content.items():
                    part = folder / "ledger" / name / f"{trial.key}.parquet"
                    part.parent.mkdir(parents=True)
                    _write(name, found, part)
            for name, ledger in tables.items():
                part = store.path("scores", trial.key) / "ledger" / name / f"{trial.key}.parquet"
                os.link(part, ledger / part.name)
            rows += TUNE + TEST
    return rows


def _write(table: str, content: pa.Table | list[dict[str, Any]], file: Path) -> None:
    if isinstance(content, list):
        content = pa.Table.from_pylist(content, schema=SCHEMAS[table])
    file.write_bytes(to_parquet(content))


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

    from studies.planning.job import TrainingJob
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


def finished_study(trials: int, folder: Path) -> tuple[Path, int, int]:
    """Leave a finished study in `folder/results`; return its file, its trials and score rows."""
    spec = folder / "scale.yaml"
    content = study_of(trials)
    spec.write_text(json.dumps(content))  # JSON is YAML
    plan = make_plan(Study.model_validate(content))
    with _unsynced():
        rows = write_finished(plan, ArtifactStore(folder / "results" / "store"), folder / "results")
    return spec, len(plan.trials), rows


def commands_over(trials: int, folder: Path) -> dict[str, Any]:
    """Seconds and memory of the commands over a finished study."""
    results = folder / "results"
    started = time.perf_counter()
    spec, count, rows = finished_study(trials, folder)
    found: dict[str, Any] = {"trials": count, "score_rows": rows}
    print(f"  ({rows:,} rows of scores written in {time.perf_counter() - started:.0f} s)")
    found["run again"] = command("run", str(spec), "--results", str(results))
    if (results / "derived").is_dir():
        for file in (results / "derived").iterdir():
            file.unlink()
    for name in ("status, first look", "status"):
        found[name] = command("status", str(results))
    for name in ("report, first", "report"):
        found[name] = command("report", str(results))
    found["page MiB"] = (results / "report" / "report.html").stat().st_size / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--trials", type=int, default=5000, help="of the plan and the ledger [5000]"
    )
    parser.add_argument("--run-trials", type=int, default=200, help="that are scheduled [200]")
    parser.add_argument("--cpus", type=int, default=2, help="that Ray may use, one a trial [2]")
    parser.add_argument("--sections", default="abcde", help="[abcde]; c, d and e go together")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
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
                record["commands"].append(commands_over(size, Path(folder)))
        small, large = record["commands"]
        for mark, name in (
            ("c", "run again"), ("d", "status, first look"), ("d", "status"),
            ("e", "report, first"), ("e", "report"),
        ):  # fmt: skip
            more = (large[name]["cpu"] - small[name]["cpu"]) / (large["trials"] - small["trials"])
            each = ", ".join(
                f"{one['trials']:,} trials {one[name]['seconds']:.1f} s "
                f"(CPU {one[name]['cpu']:.1f} s, {one[name]['mib']:.0f} MiB)"
                for one in (small, large)
            )
            print(f"({mark}) {name:18} {each}; CPU of one more {1000 * more:.2f} ms", flush=True)
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
