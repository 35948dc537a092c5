"""The trials of a search on the scheduler: what is given out next, and what the ledger keeps."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

import studies.search.trials
from reports.ledger.parts import read_table
from studies.planning.job import TrainingJob
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import JOB_RETRIES, Scheduler
from studies.scheduling.stopping import Stop
from studies.search.candidates import first_jobs
from studies.search.trials import SearchTrials, other_optuna
from studies.spec.study import Study
from studies.stages.handover import JobStatus, Outcome
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]


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


def test_every_option_of_the_sampler_and_the_pruner_is_named_but_the_deprecated(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: dict[str, set[str]] = {}
    offered: dict[str, set[str]] = {}
    for module, kind in (
        (optuna.samplers, "TPESampler"),
        (optuna.pruners, "SuccessiveHalvingPruner"),
    ):
        original = getattr(module, kind)
        offered[kind] = set(inspect.signature(original).parameters)

        def recorded(_kind: str = kind, _of: Any = original, **options: Any) -> Any:
            named[_kind] = set(options)
            return _of(**options)

        monkeypatch.setattr(module, kind, recorded)
    deprecated = {
        "consider_prior",
        "prior_weight",
        "consider_magic_clip",
        "consider_endpoints",
        "gamma",
        "weights",
        "warn_independent_sampling",
    }
    begin(left=1)
    assert named["TPESampler"] == offered["TPESampler"] - deprecated
    assert named["SuccessiveHalvingPruner"] == offered["SuccessiveHalvingPruner"]


def test_a_search_that_goes_on_under_another_optuna_says_so_once_and_keeps_its_trials(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna, "__version__", "4.8.0")
    one = begin(left=1, at_once=1)
    one.score(one.start(), 0.25)
    one.score(one.start(), 0.5)
    assert set(read_table(one.results, "search")["optuna"]) == {"4.8.0"}
    assert not [line for line in one.said if "Optuna" in line]
    monkeypatch.undo()
    again = begin(left=1, at_once=1)
    (line,) = [line for line in again.said if "Optuna" in line]
    assert line.startswith("tiny: configurations were proposed 1 by Optuna 4.8.0; this is Optuna ")
    assert len(again.trials.finished) == 1


def test_trials_of_before_the_version_was_kept_say_nothing() -> None:
    rows = pd.DataFrame({"number": [0, 0, 1], "optuna": [None, None, optuna.__version__]})
    assert other_optuna(rows) is None
    assert other_optuna(rows.drop(columns="optuna")) is None
