"""Ray Tune as the scheduler: the order of suggestions, and studies run by real workers."""

import copy
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import studies.ray_tune.callbacks
import studies.ray_tune.job_store
import studies.ray_tune.runner
from reports.ledger.parts import read_table
from reports.storage.folder import MARK
from studies.cluster.ray_start import start_ray
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.runner import RunResult, run_plan
from studies.scheduling.progress import Progress
from studies.spec.study import Study
from studies.stages.device import use_share
from studies.stages.handover import JobStatus, Outcome, RunContext
from studies.store.artifacts import ArtifactStore
from studies.store.garbage import UNFINISHED_PROBES
from wsss_core.errors import InputError

Raw = dict[str, Any]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_where_nothing_listens_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        address = form.format(opened.getsockname()[1])
    monkeypatch.setattr(studies.ray_tune.callbacks.ray, "is_initialized", lambda: False)
    began = time.monotonic()
    with pytest.raises(InputError, match=f"--address {address}: no Ray cluster answers there: "):
        start_ray(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"RAY_ADDRESS {address}: no Ray cluster answers there: "):
        start_ray(None)
    assert time.monotonic() - began < 20


@dataclass
class Ran:
    plan: Plan
    results: Path
    store: ArtifactStore
    said: list[str] = field(default_factory=list)
    result: RunResult | None = None

    def go(self, listening: Callable[..., Any]) -> None:
        with listening(self.said.append):
            self.result = run_plan(self.plan, self.results, self.store)


def prepared(study: Raw, results: Path) -> Ran:
    return Ran(make_plan(Study.model_validate(study)), results, ArtifactStore(results / "store"))


@pytest.fixture(scope="module")
def ran(
    ray_here: None,
    shared_tiny: Raw,
    listening: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """Under two seeds a ViT taught two ways, by a teacher that no row reports."""
    study = copy.deepcopy(shared_tiny)
    study["seeds"] = [0, 1]
    study["configurations"] = [study["configurations"][2] | {"level": ["global", "spatial"]}]
    ran = prepared(study, tmp_path_factory.mktemp("tuned"))
    ran.go(listening)
    return ran


def test_a_study_run_by_ray_ends_ok(ran: Ran) -> None:
    assert ran.result is not None
    assert (ran.result.trained, ran.result.failed, ran.result.remaining) == (6, {}, 0)
    trials = read_table(ran.results, "trials")
    assert set(trials["trial_key"]) == {trial.key for trial in ran.plan.trials}
    assert set(trials["status"]) == {"ok"}


def test_a_teacher_is_trained_once_a_seed(ran: Ran) -> None:
    manifests = [
        ran.store.manifest("train", folder.name) for folder in (ran.store.root / "train").iterdir()
    ]
    assert len(manifests) == 2 + 2 * 2
    teachers = [one.about["settings"]["seed"] for one in manifests if one.parent is None]
    assert sorted(teachers) == [0, 1]
    for one in manifests:
        if one.parent is not None:
            parent = ran.store.manifest("train", one.parent)
            assert parent.about["settings"]["seed"] == one.about["settings"]["seed"]
            assert parent.written_at <= one.written_at


def test_each_end_is_a_line_with_its_number_and_an_estimate(ran: Ran) -> None:
    assert ran.said[2] == "tiny: 4 trials, 0 done before, 6 training runs to go"
    lines = ran.said[3:]
    assert [line[:5] for line in lines] == [f"[{number}/6]" for number in range(1, 7)]
    assert all("left)" in line for line in lines[:-1])
    assert "left" not in lines[-1]
    ended = sorted(line[6:].split("  (")[0] for line in lines)
    assert ended == sorted(f"{job.name}, seed {job.seed}" for job in ran.plan.jobs.values())


def test_ray_tune_s_own_files_are_gone(ran: Ran) -> None:
    names = sorted(entry.name for entry in ran.results.iterdir())
    # A worker that took too long to write its probe may have been ended while it did.
    left = [name for name in names if not name.startswith(UNFINISHED_PROBES)]
    assert left == [MARK, "ledger", "store"]


def test_a_worker_of_ray_trains_the_weights_that_this_process_trains(
    ran: Ran, run: Callable[..., Any], tmp_path: Path
) -> None:
    study = ran.plan.study.model_dump(by_alias=True, exclude_none=True) | {"seeds": [1]}
    here = run(study, tmp_path)
    for key in here.plan.jobs:
        found, expected = (
            load_file(store.path("train", key) / "student.safetensors")
            for store in (ran.store, here.store)
        )
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_second_run_does_not_even_ask_ray(
    ran: Ran, listening: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> Raw:
        raise AssertionError

    monkeypatch.setattr(studies.ray_tune.runner, "run_with_tune", asked)
    again = Ran(ran.plan, ran.results, ran.store)
    again.go(listening)
    assert again.result is not None
    assert (again.result.trained, again.result.reused) == (0, 4)


def workers_of_this_process() -> list[int]:
    """The processes below this one that run a trial of Ray Tune, found in /proc."""
    parents: dict[int, int] = {}
    busy = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            title = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry.name)] = int(status[1])
        if title.startswith(b"ray::ImplicitFunc.train"):
            busy.append(int(entry.name))

    def below(process: int) -> bool:
        while process > 1:
            process = parents.get(process, 0)
            if process == os.getpid():
                return True
        return False

    return [process for process in busy if below(process)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker in /proc")
def test_a_worker_killed_in_the_middle_is_started_again_and_goes_on_from_its_checkpoint(
    ray_here: None,
    tiny: Raw,
    run: Callable[..., Any],
    listening: Callable[..., Any],
    tmp_path: Path,
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    tiny["data"]["train"] = 200
    tiny["training"]["epochs"] = 30
    ran = prepared(tiny, tmp_path / "killed")
    (key,) = ran.plan.jobs
    checkpoint = ran.store.root / "unfinished" / f"train-{key}" / "checkpoint.pt"
    before: Raw = {}

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        before["history"] = torch.load(checkpoint, weights_only=True)["history"]
        before["killed"] = workers_of_this_process()
        for process in before["killed"]:
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    ran.go(listening)
    killer.join()
    assert len(before["killed"]) == 1
    assert ran.result is not None
    assert (ran.result.trained, ran.result.failed) == (1, {})
    history = read_table(ran.results, "history").sort_values("epoch")
    assert list(history["epoch"]) == list(range(30))
    # The wall time of an epoch does not come twice: these epochs were not trained again.
    kept = [record["seconds"] for record in before["history"]]
    assert list(history["seconds"])[: len(kept)] == kept
    whole = run(tiny, tmp_path / "whole")
    found, expected = (
        load_file(store.path("train", key) / "student.safetensors")
        for store in (ran.store, whole.store)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def scheduled(study: Raw, folder: Path) -> tuple[Plan, dict[str, Outcome]]:
    """Give every job of a study to Ray; where `_tune_trial` is a stand-in, none is trained."""
    plan = make_plan(Study.model_validate(study))
    store = ArtifactStore(folder / "store")
    context = RunContext.of(plan, store, folder)
    pending = list(plan.jobs.values())
    progress = Progress(pending)
    run = studies.ray_tune.runner.run_with_tune
    return plan, run(plan, pending, context, None, progress)


@pytest.mark.slow
def test_jobs_get_what_each_asks_for_and_workers_stay_among_equals(
    ray_here: None, tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores: four jobs of one core, two of two; no worker serves both kinds."""
    seen = tmp_path / "seen"
    seen.mkdir()

    def looks(config: Raw, **_: Any) -> None:
        from studies.ray_tune.callbacks import ray

        label = config["job"]
        about = {
            **asdict(use_share(label.request)),
            "threads": torch.get_num_threads(),
            "assigned": ray.get_runtime_context().get_assigned_resources()["CPU"],
            "process": os.getpid(),
        }
        (seen / label.key).write_text(json.dumps(about))
        studies.ray_tune.runner.tune.report({"ended": 1, "outcome": Outcome(JobStatus.OK)})

    monkeypatch.setattr(studies.ray_tune.runner, "_tune_trial", looks)
    tiny["seeds"] = [0, 1]
    tiny["configurations"] = [tiny["configurations"][index] for index in (0, 3, 1)]
    tiny["resources"]["co-training"] = {"cpus": 2}
    plan, outcomes = scheduled(tiny, tmp_path)
    assert set(outcomes) == set(plan.jobs)
    workers: dict[int, set[int]] = {1: set(), 2: set()}
    for key, job in plan.jobs.items():
        about = json.loads((seen / key).read_text())
        cpus = 2 if job.settings["paradigm"] == "co-training" else 1
        assert (about["cpus"], about["threads"], about["assigned"]) == (cpus, cpus, cpus)
        assert (about["device"], about["gpus"]) == ("cpu", 0.0)
        workers[cpus].add(about["process"])
    assert not workers[1] & workers[2]
    assert len(workers[1]) + len(workers[2]) < len(plan.jobs), "no worker was used twice"


@pytest.mark.ci
def test_a_tune_that_has_had_its_share_is_followed_by_another(
    ray_here: None, tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker finds its own job, whichever Tune started it."""
    started: list[Any] = []
    once = studies.ray_tune.runner._run_tune

    def counted(*args: Any, **kwargs: Any) -> None:
        started.append(args)
        once(*args, **kwargs)

    def found(config: Raw, shelves: list[Any], **_: Any) -> None:
        job = studies.ray_tune.job_store.job_of(config["job"], shelves)
        ok = {"outcome": Outcome(JobStatus.OK)} if job.key == config["job"].key else {}
        studies.ray_tune.runner.tune.report({"ended": 1, **ok})

    monkeypatch.setattr(studies.ray_tune.runner, "_tune_trial", found)
    monkeypatch.setattr(studies.ray_tune.runner, "_run_tune", counted)
    monkeypatch.setattr(studies.ray_tune.callbacks, "JOBS_A_TUNE", 2)
    monkeypatch.setattr(studies.ray_tune.job_store, "ON_A_SHELF", 3)
    plan, outcomes = scheduled(tiny, tmp_path)
    assert set(outcomes) == set(plan.jobs)
    assert all(outcome.status is JobStatus.OK for outcome in outcomes.values())
    assert len(started) == -(-len(plan.jobs) // 2)


@pytest.mark.ci
def test_an_error_of_the_driver_ends_the_run_as_itself(
    ray_here: None,
    tiny: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listening: Callable[..., AbstractContextManager[None]],
) -> None:
    """Tune takes what its callbacks raise for an error of the trial."""

    def nothing(config: Raw, **_: Any) -> None:
        outcome = Outcome(JobStatus.OK)
        studies.ray_tune.runner.tune.report({"ended": 1, "outcome": outcome})

    def gone(line: str) -> None:
        raise BrokenPipeError("who read the lines has left")

    monkeypatch.setattr(studies.ray_tune.runner, "_tune_trial", nothing)
    left = pytest.raises(BrokenPipeError, match="who read the lines has left")
    with left, listening(gone):
        scheduled(tiny, tmp_path)


@pytest.mark.ci
def test_nodes_are_asked_right_after_another_run_in_the_callers_own_ray(
    ray_here: None, tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(config: Raw, **_: Any) -> None:
        studies.ray_tune.runner.tune.report({"ended": 1, "outcome": Outcome(JobStatus.OK)})

    monkeypatch.setattr(studies.ray_tune.runner, "_tune_trial", nothing)
    _, outcomes = scheduled(tiny, tmp_path)
    assert all(outcome.status is JobStatus.OK for outcome in outcomes.values())
    ended = time.monotonic()
    tiny["configurations"][3] |= {"name": "both", "resources": {"cpus": 3}}
    with pytest.raises(InputError, match=r"a trial of 'both' asks for 3 CPUs, .* has 2 CPUs, "):
        scheduled(tiny, tmp_path / "other")
    assert time.monotonic() - ended < 30
