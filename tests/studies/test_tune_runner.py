"""Ray Tune as the scheduler: the order of suggestions, and studies run by real workers."""

import copy
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import studies.tune_runner
from reports.ledger import read_table
from studies.artifacts import ArtifactStore
from studies.plan import Plan, Unit, make_plan
from studies.runner import RunResult, run_study
from studies.sources import StudyImages
from studies.spec import Study
from studies.tune_runner import PlanSearcher, start_ray, trial_resources
from wsss_core.data.scene_source import SceneSource
from wsss_core.data.scenes import SceneSettings
from wsss_core.errors import InputError

Raw = dict[str, Any]


NO_IMAGES = StudyImages(SceneSource(SceneSettings(size=16)), 16, {})


def unit(key: str, parent: str | None = None) -> Unit:
    return Unit(key, {"seed": 0}, {}, NO_IMAGES, parent)


def suggested(searcher: PlanSearcher, trial: str) -> str | None:
    found = searcher.suggest(trial)
    return found["unit"]["key"] if isinstance(found, dict) else found


def test_a_student_is_not_suggested_before_its_teacher_has_ended() -> None:
    searcher = PlanSearcher([unit("t"), unit("s", "t"), unit("a")])
    assert [suggested(searcher, name) for name in ("1", "2", "3")] == ["t", "a", None]
    searcher.on_trial_complete("2")
    assert suggested(searcher, "4") is None
    searcher.on_trial_complete("1")
    assert suggested(searcher, "5") == "s"
    assert suggested(searcher, "6") == "FINISHED"


def test_units_that_others_wait_for_come_first_and_the_rest_in_order() -> None:
    searcher = PlanSearcher([unit("a"), unit("b"), unit("t"), unit("s", "t"), unit("u")])
    found = []
    for name in "12345":
        found.append(suggested(searcher, name))
        searcher.on_trial_complete(name)
    assert found == ["t", "a", "b", "s", "u"]


def test_a_teacher_that_is_not_among_the_units_is_there_already() -> None:
    assert suggested(PlanSearcher([unit("s", "trained")]), "1") == "s"


def test_a_teacher_that_fails_holds_nobody_up() -> None:
    searcher = PlanSearcher([unit("t"), unit("s", "t")])
    suggested(searcher, "1")
    searcher.on_trial_complete("1", error=True)
    assert suggested(searcher, "2") == "s"


def test_the_teacher_of_one_seed_frees_the_students_of_that_seed_alone() -> None:
    units = [unit("t0"), unit("t1"), unit("s0", "t0"), unit("s1", "t1")]
    searcher = PlanSearcher(units)
    assert [suggested(searcher, name) for name in ("1", "2", "3")] == ["t0", "t1", None]
    searcher.on_trial_complete("2")
    assert [suggested(searcher, name) for name in ("4", "5")] == ["s1", None]


@pytest.mark.parametrize(
    ("asked", "cluster", "expected"),
    [
        ({}, {"CPU": 4.0, "memory": 8.0 * 2**30}, {"cpu": 1.0, "memory": 2.0**30}),
        ({}, {"CPU": 4.0, "memory": 8.0 * 2**30, "GPU": 2.0},
         {"cpu": 1.0, "memory": 2.0**30, "gpu": 1.0}),
        ({"gpus": 0}, {"CPU": 4.0, "memory": 8.0 * 2**30, "GPU": 2.0},
         {"cpu": 1.0, "memory": 2.0**30}),
        ({"cpus": 3, "gpus": 0.5, "memory_gb": 0.5},
         {"CPU": 4.0, "memory": 8.0 * 2**30, "GPU": 2.0},
         {"cpu": 3.0, "memory": 2.0**29, "gpu": 0.5}),
    ],
)  # fmt: skip
def test_a_trial_asks_for_what_the_study_says_and_a_gpu_where_there_is_one(
    tiny: Raw, asked: Raw, cluster: Raw, expected: Raw
) -> None:
    tiny["resources"] = asked
    assert trial_resources(Study.model_validate(tiny).resources, cluster) == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cpus": 8}, "a trial asks for cpu 8, the cluster has 4"),
        ({"gpus": 1}, "a trial asks for gpu 1, the cluster has 0"),
        ({"memory_gb": 9}, "a trial asks for memory 9 GiB, the cluster has 8 GiB"),
    ],
)
def test_a_trial_that_fits_nowhere_is_refused(tiny: Raw, asked: Raw, said: str) -> None:
    tiny["resources"] = asked
    asked_for = Study.model_validate(tiny).resources
    with pytest.raises(InputError, match=said):
        trial_resources(asked_for, {"CPU": 4.0, "memory": 8.0 * 2**30})


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_where_nothing_listens_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        address = form.format(opened.getsockname()[1])
    monkeypatch.setattr(studies.tune_runner.ray, "is_initialized", lambda: False)
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

    def go(self) -> None:
        self.result = run_study(self.plan, self.results, self.store, say=self.said.append)


def prepared(study: Raw, results: Path) -> Ran:
    return Ran(make_plan(Study.model_validate(study)), results, ArtifactStore(results / "store"))


@pytest.fixture(scope="module")
def ran(ray_here: None, shared_tiny: Raw, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Under two seeds a ViT taught two ways, by a teacher that no row reports."""
    study = copy.deepcopy(shared_tiny)
    study["seeds"] = [0, 1]
    study["configurations"] = [study["configurations"][2] | {"level": ["global", "spatial"]}]
    ran = prepared(study, tmp_path_factory.mktemp("tuned"))
    ran.go()
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
    teachers = [one["settings"]["seed"] for one in manifests if one["parent"] is None]
    assert sorted(teachers) == [0, 1]
    for one in manifests:
        if one["parent"] is not None:
            parent = ran.store.manifest("train", one["parent"])
            assert parent["settings"]["seed"] == one["settings"]["seed"]
            assert parent["written_at"] <= one["written_at"]


def test_each_end_is_a_line_with_its_number_and_an_estimate(ran: Ran) -> None:
    assert ran.said[1] == "tiny: 4 trials, 0 done before, 6 training runs to go"
    lines = ran.said[2:]
    assert [line[:5] for line in lines] == [f"[{number}/6]" for number in range(1, 7)]
    assert all("left)" in line for line in lines[:-1])
    assert "left" not in lines[-1]
    ended = sorted(line[6:].split("  (")[0] for line in lines)
    assert ended == sorted(f"{unit.name}, seed {unit.seed}" for unit in ran.plan.units.values())


def test_ray_tune_s_own_files_are_gone(ran: Ran) -> None:
    assert sorted(entry.name for entry in ran.results.iterdir()) == ["ledger", "store"]


def test_a_worker_of_ray_trains_the_weights_that_this_process_trains(
    ran: Ran, run: Callable[..., Any], tmp_path: Path
) -> None:
    study = ran.plan.study.model_dump(by_alias=True, exclude_none=True) | {"seeds": [1]}
    here = run(study, tmp_path)
    for key in here.plan.units:
        found, expected = (
            load_file(store.path("train", key) / "student.safetensors")
            for store in (ran.store, here.store)
        )
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_second_run_does_not_even_ask_ray(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> Raw:
        raise AssertionError

    monkeypatch.setattr(studies.tune_runner, "run_with_tune", asked)
    again = Ran(ran.plan, ran.results, ran.store)
    again.go()
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
    ray_here: None, tiny: Raw, run: Callable[..., Any], tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    tiny["data"]["train"] = 200
    tiny["training"]["epochs"] = 30
    ran = prepared(tiny, tmp_path / "killed")
    (key,) = ran.plan.units
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
    ran.go()
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
