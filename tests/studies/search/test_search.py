"""A search: what it tries and keeps, where it goes on, and whose numbers are reported."""

import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import studies.search.trials
from reports import make_report
from reports.ledger.parts import read_table
from studies.planning.job import TrainingJob
from studies.planning.planner import make_plan
from studies.runner import run_study
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import JOB_RETRIES, Scheduler
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_jobs
from studies.search.run import run_search
from studies.search.trials import SearchTrials, tuned_objective
from studies.spec.study import Study
from studies.stages.outcome import JobStatus, Outcome
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError

Raw = dict[str, Any]


@pytest.fixture
def searching(tiny: Raw) -> Raw:
    tiny["configurations"] = tiny["configurations"][:2]
    tiny["panels"] = 0
    tiny["search"] = {
        "student": "vit",
        "teacher": "cnn",
        "trials": 3,
        "seeds": [8, 9],
        "confirm": 2,
        "space": {
            "metric": ["cosine", "L1"],
            "level": ["global", "spatial"],
            "representation": ["feature", "activation_map"],
            "lambda": {"low": 0.1, "high": 10},
            "learning_rate": {"low": 1e-4, "high": 1e-2},
        },
    }
    return tiny


@pytest.mark.ci
def test_a_search_goes_on_where_it_ended_and_its_winners_run_under_fresh_seeds(
    searching: Raw, listening: Callable[..., Any], tmp_path: Path, ray_here: None
) -> None:
    store = ArtifactStore(tmp_path / "store")
    run_search(Study.model_validate(searching), tmp_path, store)
    first = read_table(tmp_path, "search")
    assert sorted(first["number"].unique()) == [0, 1, 2]
    assert set(first["state"]) <= {"complete", "pruned", "collapsed"}

    searching["search"]["trials"] = 5
    said: list[str] = []
    with listening(said.append):
        study = run_search(Study.model_validate(searching), tmp_path, store)
    whole = read_table(tmp_path, "search")
    pd.testing.assert_frame_equal(whole[whole["number"] < 3].reset_index(drop=True), first)
    assert sorted(whole["number"].unique()) == [0, 1, 2, 3, 4]

    again: list[str] = []
    with listening(again.append):
        assert run_search(Study.model_validate(searching), tmp_path, store) == study
    assert not any("to try" in line for line in again)

    trial = whole[whole["state"] == "complete"].iloc[0]
    result = run_study(make_plan(study), tmp_path, store, in_process=True)
    assert result.failed == {}
    plan = read_table(tmp_path, "plan")
    assert set(plan["seed"]) == {0}
    assert not set(plan["seed"]) & set(whole["seed"])
    assert sum(name.startswith("search ") for name in plan["configuration"].unique()) == 2
    assert 0 <= trial["objective"] <= 1
    page = make_report(tmp_path, tmp_path / "report").html.read_text()
    assert 'id="search"' in page


@pytest.mark.ci
def test_a_search_that_is_broken_off_keeps_what_ended_alone_and_goes_on(
    searching: Raw, listening: Callable[..., Any], tmp_path: Path, ray_here: None
) -> None:
    store = ArtifactStore(tmp_path / "store")

    def interrupt_after_the_first(line: str) -> None:
        if line.startswith("search ") and "seeds" in line:
            os.kill(os.getpid(), signal.SIGINT)

    searching["search"]["trials"] = 5
    study = Study.model_validate(searching)
    with pytest.raises(KeyboardInterrupt), listening(interrupt_after_the_first):
        run_search(study, tmp_path, store)
    kept = read_table(tmp_path, "search")
    assert 1 <= kept["number"].nunique() < 5
    assert "failed" not in set(kept["state"])
    run_search(study, tmp_path, store)
    whole = read_table(tmp_path, "search")
    assert whole["number"].nunique() == 5
    old = whole[whole["number"].isin(kept["number"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, kept)


class Searching:
    """A search and the scheduler that gives its training runs out, without Ray or training."""

    def __init__(
        self, raw: Raw, results: Path, log: pytest.LogCaptureFixture, left: int, at_once: int
    ) -> None:
        study = Study.model_validate(raw)
        assert study.search is not None
        planner, plan = first_jobs(study)
        done = read_table(results, "search")
        self.results, self.stop, self.log = results, Stop(), log
        self.trials = SearchTrials(planner, results, done, "tiny.", left, self.stop)
        store = ArtifactStore(results / "store")
        for job in plan.jobs.values():
            if job.parent is None:
                with store.build("train", job.key, {}):
                    pass
        first = self.trials.start(at_once)
        self.scheduler = Scheduler(
            plan, first, store, _Silent([]), self.stop, lambda job: Outcome(JobStatus.OK)
        )
        self.scheduler.on_end = self.trials.ended
        self.objectives: dict[str, float] = {}

    @property
    def said(self) -> list[str]:
        return self.log.messages

    def start(self) -> TrainingJob | None:
        return self.scheduler.next()

    def score(self, job: TrainingJob | None, objective: float) -> None:
        """Bring a training run back that reached an objective."""
        assert job is not None
        self.objectives[job.trials[0].key] = objective
        self.scheduler.came_back(job.key, Outcome(JobStatus.OK))

    def table(self) -> list[tuple[int, str, int, Any]]:
        rows = read_table(self.results, "search")
        return list(
            zip(rows["number"], rows["state"], rows["seed"], rows["objective"], strict=True)
        )


class _Silent(Progress):
    def ended(self, job: TrainingJob, outcome: Outcome) -> None:
        """Say nothing."""


Begin = Callable[..., Searching]


@pytest.fixture
def begin(
    searching: Raw,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Begin:
    caplog.set_level(logging.INFO)

    def make(left: int, at_once: int = 2) -> Searching:
        one = Searching(searching, tmp_path, caplog, left, at_once)
        monkeypatch.setattr(
            studies.search.trials,
            "tuned_objective",
            lambda results, key, objective: one.objectives[key],
        )
        return one

    return make


def seed_of(job: TrainingJob | None) -> int:
    assert job is not None
    return job.seed


def test_the_next_seed_of_a_promising_configuration_comes_before_another_configuration(
    begin: Begin,
) -> None:
    one = begin(left=2, at_once=1)
    first = one.start()
    assert first is not None
    assert one.start() is None
    one.score(first, 0.25)
    second = one.start()
    assert second is not None
    assert (first.seed, second.seed) == (8, 9)
    assert second.trials[0].configuration == first.trials[0].configuration
    one.score(second, 0.75)
    assert one.table() == [(0, "complete", 8, 0.25), (0, "complete", 9, 0.75)]
    third = one.start()
    assert third is not None
    assert third.seed == 8


def test_a_configuration_that_others_surpass_is_pruned_between_seeds(begin: Begin) -> None:
    one = begin(left=2, at_once=2)
    good, bad = one.start(), one.start()
    assert good is not None
    assert bad is not None
    one.score(good, 0.5)
    one.score(bad, 0.25)
    assert one.table() == [(1, "pruned", 8, 0.25)]
    last = one.start()
    assert seed_of(last) == 9
    assert one.start() is None
    one.score(last, 0.5)
    assert one.scheduler.all_ended
    assert one.table() == [
        (0, "complete", 8, 0.5), (0, "complete", 9, 0.5), (1, "pruned", 8, 0.25)
    ]  # fmt: skip


def test_a_configuration_whose_worker_died_is_started_again_and_counts_once(begin: Begin) -> None:
    one = begin(left=1)
    job = one.start()
    assert job is not None
    one.scheduler.died(job.key, node_lost=True)
    assert one.table() == []
    assert one.said[-1].endswith(", seed 8: its node was lost; it is started again")
    assert one.start() == job
    one.score(job, 0.25)
    one.score(one.start(), 0.75)
    assert one.scheduler.all_ended
    assert one.table() == [(0, "complete", 8, 0.25), (0, "complete", 9, 0.75)]


def test_one_whose_workers_die_again_and_again_has_failed(begin: Begin) -> None:
    one = begin(left=1)
    for _ in range(JOB_RETRIES + 1):
        job = one.start()
        assert job is not None
        one.scheduler.died(job.key, node_lost=False)
    assert one.scheduler.all_ended
    ((number, state, seed, objective),) = one.table()
    assert (number, state, seed) == (0, "failed", 8)
    assert pd.isna(objective)
    assert f"its worker process died {JOB_RETRIES + 1} times" in one.said[-1]


def test_a_training_run_that_fails_fails_its_configuration_at_once_and_says_why(
    begin: Begin,
) -> None:
    one = begin(left=1)
    one.score(one.start(), 0.5)
    job = one.start()
    assert job is not None
    one.scheduler.came_back(job.key, Outcome(JobStatus.FAILED, "ValueError: no"))
    assert one.table() == [(0, "failed", 8, 0.5)]
    assert one.said[-1].endswith(": ValueError: no")
    assert one.scheduler.all_ended


def test_a_configuration_of_which_a_network_collapsed_is_collapsed_with_its_numbers(
    begin: Begin,
) -> None:
    one = begin(left=1)
    job = one.start()
    assert job is not None
    one.objectives[job.trials[0].key] = 0.0
    one.scheduler.came_back(job.key, Outcome(JobStatus.COLLAPSED, "flat"))
    one.score(one.start(), 0.5)
    assert one.table() == [(0, "collapsed", 8, 0.0), (0, "collapsed", 9, 0.5)]


def test_a_configuration_that_met_a_gpu_which_cannot_be_used_is_tried_on_another(
    begin: Begin,
) -> None:
    one = begin(left=1)
    job = one.start()
    assert job is not None
    one.scheduler.came_back(job.key, Outcome(JobStatus.GPU_FAILED, "GPU 1 of node7: ECC"))
    assert one.said == ["  GPU 1 of node7: ECC"]
    assert one.start() == job
    one.score(job, 0.25)
    one.score(one.start(), 0.75)
    assert one.table() == [(0, "complete", 8, 0.25), (0, "complete", 9, 0.75)]
    assert not one.stop.asked


def test_where_nothing_can_be_kept_the_search_ends_and_nothing_has_failed(begin: Begin) -> None:
    one = begin(left=3)
    job = one.start()
    assert job is not None
    one.start()
    one.scheduler.came_back(job.key, Outcome(JobStatus.STORAGE_DOWN, "disk is full"))
    assert one.stop.asked
    assert one.start() is None
    assert one.table() == []
    assert one.stop.storage == "disk is full"


def test_a_teacher_that_was_not_trained_ends_the_search(begin: Begin) -> None:
    one = begin(left=1)
    job = one.start()
    assert job is not None
    teacher = replace(job, key=str(job.parent), parent=None, trials=())
    one.trials.ended(teacher, Outcome(JobStatus.FAILED, "ValueError: no"))
    assert str(one.stop.fault) == "a teacher of the search was not trained: ValueError: no"
    assert one.table() == []


def test_optuna_starts_from_what_was_scored_before(begin: Begin) -> None:
    one = begin(left=1)
    for value in (0.25, 0.75):
        one.score(one.start(), value)
    again = begin(left=1)
    assert [trial.value for trial in again.trials.finished] == [0.5]
    for value in (0.5, 1.0):
        again.score(again.start(), value)
    assert [row[0] for row in again.table()] == [0, 0, 1, 1]


def searched(*objectives: tuple[str, float, str]) -> pd.DataFrame:
    rows = [
        {
            "number": number,
            "state": state,
            "seed": seed,
            "objective": value,
            "parameters": parameters,
        }
        for number, (parameters, value, state) in enumerate(objectives)
        for seed in (8, 9)
    ]
    return pd.DataFrame(rows)


def point(weight: float) -> str:
    return json.dumps({
        "lambda": weight, "level": "global", "metric": "cosine", "representation": "feature",
        "learning_rate": 1e-3,
    })  # fmt: skip


def test_the_best_are_those_of_the_highest_mean_that_were_scored_under_all_seeds(
    searching: Raw,
) -> None:
    found = searched(
        (point(1), 0.2, "complete"),
        (point(2), 0.9, "pruned"),
        (point(3), 0.5, "complete"),
        (point(3), 0.4, "complete"),
        (point(4), 0.3, "complete"),
    )
    study = confirmation(Study.model_validate(searching), found)
    assert study.search is None
    rows = [row for _, row in study.named_configurations()]
    assert [row.transfer_weight for row in rows[2:]] == [3.0, 4.0]
    assert rows[2].training.learning_rate == 1e-3


def test_a_search_of_which_nothing_was_scored_confirms_nothing(searching: Raw) -> None:
    with pytest.raises(InputError, match="no search trial was scored under all of its seeds"):
        confirmation(Study.model_validate(searching), searched((point(1), 0.5, "failed")))


def test_the_objective_is_the_best_iou_of_the_tune_split_and_never_sees_the_test(
    finished: Any,
) -> None:
    trial = finished.plan.trials[0]
    scores = read_table(finished.results, "scores", keys=[trial.key])
    tune = scores[scores["split"] == "tune"]
    best = max(_iou_at(tune, level) for level in range(256))
    assert tuned_objective(finished.results, trial.key, "per_image_iou") == pytest.approx(best)


def _iou_at(rows: pd.DataFrame, level: int) -> float:
    each = []
    for _, row in rows.iterrows():
        total = int(row["foreground"].sum())
        if total:
            hit, false = int(row["foreground"][level:].sum()), int(row["background"][level:].sum())
            each.append(hit / (total + false))
    return sum(each) / len(each)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [0, 5]}, "search.seeds and seeds share 0"),
        ({"student": "vita"}, "search.student 'vita' is no backbone"),
        ({"paradigm": "single"}, "paradigm 'single' has none"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(searching: Raw, change: Raw, said: str) -> None:
    searching["search"] |= change
    with pytest.raises(ValueError, match=said):
        Study.model_validate(searching)
