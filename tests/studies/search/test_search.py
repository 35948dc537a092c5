"""A search: what it tries and keeps, where it goes on, and whose numbers are reported."""

import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from reports import make_report
from reports.ledger.parts import read_table
from studies.planning.planner import make_plan
from studies.runner import run_study
from studies.scheduling.schedule import JOB_RETRIES
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_jobs
from studies.search.run import run_search
from studies.search.sampler import ConfigurationSearcher
from studies.search.trials import SearchLedger, tuned_objective
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
    """A searcher and its ledger as Tune calls them, without Tune."""

    def __init__(
        self, raw: Raw, results: Path, log: pytest.LogCaptureFixture, left: int, at_once: int
    ) -> None:
        study = Study.model_validate(raw)
        assert study.search is not None
        planner, _ = first_jobs(study)
        done = read_table(results, "search")
        self.results, self.stop, self.log = results, Stop(), log
        self.searcher = ConfigurationSearcher(study.search, planner, done, left)
        self.ledger = SearchLedger(study, results, "tiny.", self.searcher, self.stop, at_once)
        self._trials: dict[str, Any] = {}

    @property
    def said(self) -> list[str]:
        return self.log.messages

    def start(self, trial_id: str) -> Any:
        """What Tune is given to start: a configuration, None or that all is done."""
        config = self.searcher.suggest(trial_id)
        if isinstance(config, dict):
            self._trials[trial_id] = SimpleNamespace(
                trial_id=trial_id, config=config, error_file=None
            )
        return config

    def report(
        self,
        trial_id: str,
        status: JobStatus = JobStatus.OK,
        error: str | None = None,
        **result: Any,
    ) -> None:
        told = {"outcome": Outcome(status, error), **result}
        self.searcher.on_trial_result(trial_id, told)
        self.ledger.on_trial_result(0, [], self._trials[trial_id], told)

    def score(self, trial_id: str, *values: float) -> None:
        for seeds, value in enumerate(values, 1):
            mean = sum(values[:seeds]) / seeds
            self.report(trial_id, objective=mean, last=value, seeds_done=seeds)

    def end(self, trial_id: str, **result: Any) -> None:
        self.searcher.on_trial_complete(trial_id, result)
        self.ledger.on_trial_complete(0, [], self._trials[trial_id])

    def die(self, trial_id: str, error: str = "") -> None:
        trial = self._trials[trial_id]
        trial.error_file = self.results / "error"
        trial.error_file.write_text(error)
        self.searcher.on_trial_complete(trial_id, error=True)
        self.ledger.on_trial_error(0, [], trial)

    def table(self) -> list[tuple[int, str, int, Any]]:
        rows = read_table(self.results, "search")
        return list(zip(rows["number"], rows["state"], rows["seed"], rows["objective"],
                        strict=True))  # fmt: skip


Begin = Callable[..., Searching]


@pytest.fixture
def begin(searching: Raw, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Begin:
    caplog.set_level(logging.INFO)

    def make(left: int, at_once: int = 2) -> Searching:
        return Searching(searching, tmp_path, caplog, left, at_once)

    return make


def test_a_search_says_that_it_is_done_once_none_runs_that_might_have_to_be_started_again(
    begin: Begin,
) -> None:
    one = begin(left=2)
    assert [one.start("a")["number"], one.start("b")["number"]] == [0, 1]
    assert one.start("c") is None
    one.score("a", 0.25, 0.75)
    one.end("a", objective=0.5)
    one.score("b", 0.5)
    one.end("b", objective=0.5)  # ASHA stopped it
    assert not one.searcher.at_end
    assert one.start("d") == "FINISHED"
    assert one.searcher.at_end
    assert one.table() == [
        (0, "complete", 8, 0.25), (0, "complete", 9, 0.75), (1, "pruned", 8, 0.5)
    ]  # fmt: skip


def test_a_configuration_whose_worker_died_is_started_again_and_counts_once(begin: Begin) -> None:
    one = begin(left=1)
    config = one.start("a")
    one.score("a", 0.25)
    one.die("a", "The node was terminated")
    assert one.table() == []
    assert one.said == ["search   1  its node was lost; it is started again"]
    assert one.start("b") == config
    one.score("b", 0.25, 0.75)
    one.end("b", objective=0.5)
    assert one.start("c") == "FINISHED"
    assert one.table() == [(0, "complete", 8, 0.25), (0, "complete", 9, 0.75)]


def test_one_whose_workers_die_again_and_again_has_failed(begin: Begin) -> None:
    one = begin(left=1)
    for attempt in range(JOB_RETRIES + 1):
        one.start(f"{attempt}")
        one.die(f"{attempt}", "out of memory")
    assert one.start("last") == "FINISHED"
    ((number, state, seed, objective),) = one.table()
    assert (number, state, seed) == (0, "failed", 8)
    assert pd.isna(objective)
    assert one.said[-1].endswith(f": its worker process died, {JOB_RETRIES + 1} times")


def test_a_training_run_that_fails_fails_its_configuration_at_once_and_says_why(
    begin: Begin,
) -> None:
    one = begin(left=1)
    one.start("a")
    one.score("a", 0.5)
    one.report("a", JobStatus.FAILED, error="ValueError: no")
    one.end("a", outcome=Outcome(JobStatus.FAILED))
    assert one.table() == [(0, "failed", 8, 0.5)]
    assert one.said[-1].endswith(": ValueError: no")
    assert one.start("b") == "FINISHED"


def test_a_configuration_that_met_a_gpu_which_cannot_be_used_is_tried_on_another(
    begin: Begin,
) -> None:
    one = begin(left=1)
    config = one.start("a")
    one.report("a", JobStatus.GPU_FAILED, error="GPU 1 of node7: ECC")
    assert one.said == ["  GPU 1 of node7: ECC"]
    assert one.start("b") == config
    one.score("b", 0.25, 0.75)
    one.end("b", objective=0.5)
    assert one.start("c") == "FINISHED"
    one.end("a")  # its worker is ended, which kept the GPU
    assert one.table() == [(0, "complete", 8, 0.25), (0, "complete", 9, 0.75)]
    assert not one.stop.asked


def test_where_no_gpu_is_left_the_search_ends_and_nothing_has_failed(begin: Begin) -> None:
    one = begin(left=3, at_once=2)
    for name in ("a", "b"):
        one.start(name)
        one.report(name, JobStatus.GPU_FAILED, error=f"GPU {name} of node7: ECC")
    assert str(one.stop.fault) == ("no GPU is left that can be used; the last: GPU b of node7: ECC")
    assert one.table() == []


@pytest.mark.parametrize("status", [JobStatus.STORAGE_DOWN, JobStatus.INPUT_CORRUPT])
def test_where_nothing_can_be_kept_or_built_upon_the_search_ends_and_nothing_has_failed(
    begin: Begin, status: JobStatus
) -> None:
    one = begin(left=3)
    one.start("a")
    one.start("b")
    one.score("b", 0.5)
    one.report("a", status, error="train/t is corrupt")
    assert one.stop.asked
    one.end("a")
    one.end("b", objective=0.5)
    assert one.table() == []
    assert "train/t is corrupt" in str(one.stop.storage or one.stop.fault)


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
    rows = [row for _, row in study.rows()]
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
