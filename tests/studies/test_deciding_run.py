"""A study that decides, run in this process: rounds, resuming, failures, two drivers, the page."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studies
import studies.stages.job
from reports import make_report
from reports.decisions import RowPair
from reports.ledger import cancel_row
from reports.ledger.parts import read_table, write_part
from studies.cli.plan_text import describe_plan
from studies.deciding import Deciding
from studies.planning.planner import make_plan
from studies.runner import run_plan
from studies.spec.study import Study
from studies.stages import Outcome, RunContext, WorkerShare, run_job
from studies.status.reading import Watcher
from studies.status.text import describe_status
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]
Run = Callable[..., Any]
pytestmark = pytest.mark.ci

CNN, VIT, TAUGHT = "CNN alone", "ViT alone", "taught, cosine global"


@pytest.fixture(scope="module")
def study(shared_tiny: Raw) -> Raw:
    """Two comparisons; the spread of the CNN keeps its own open for all of five seeds."""
    decide = {"against": VIT, "smallest": 5, "most_seeds": 5, "test": "t-mixture"}
    decide |= {"precision": 0.1}
    return {
        **shared_tiny,
        "configurations": shared_tiny["configurations"][:3],
        "decide": decide,
    }


@pytest.fixture(scope="module")
def ran(study: Raw, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Any:
    finished = run(study, tmp_path_factory.mktemp("decided"))
    assert finished.result.failed == {}
    return finished


def decisions(results: Path) -> str:
    return str(studies.open_results(results).table("decisions").to_csv())


def seeds_of(results: Path) -> dict[str, list[int]]:
    plan = read_table(results, "plan")
    return {str(row): sorted(group["seed"]) for row, group in plan.groupby("configuration")}


def test_seeds_go_where_a_comparison_is_open(ran: Any) -> None:
    rows = seeds_of(ran.results)
    assert rows[VIT] == max(rows.values(), key=len)
    assert min(map(len, rows.values())) >= 3
    trained = {(t.configuration, t.seed) for t in read_table(ran.results, "trials").itertuples()}
    assert trained == {(row, seed) for row, seeds in rows.items() for seed in seeds}
    assert (ran.result.trained, ran.result.remaining) == (len(trained), 0)


def test_running_again_trains_nothing_and_decides_the_same(
    ran: Any, study: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    again = run(study, results)
    assert (again.result.trained, again.result.scored) == (0, 0)
    assert again.result.decisions == ran.result.decisions
    assert decisions(results) == decisions(ran.results)


def test_a_ledger_that_lost_its_later_trials_asks_for_the_same_and_takes_them_from_the_store(
    ran: Any, study: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    shutil.rmtree(results / "ledger")
    again = run(study, results)
    assert again.result.trained == 0
    assert seeds_of(results) == seeds_of(ran.results)
    assert decisions(results) == decisions(ran.results)


def test_an_interrupted_run_goes_on_to_the_same_decisions(
    ran: Any, study: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def interrupted(job: Any, context: RunContext, share: WorkerShare) -> Outcome:
        begun.append(job.key)
        if len(begun) == 11:
            raise KeyboardInterrupt
        return run_job(job, context, share)

    with monkeypatch.context() as patched:
        patched.setattr("studies.scheduling.in_process.run_job", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(study, tmp_path)
    assert len(read_table(tmp_path, "trials")) == 10
    run(study, tmp_path)
    assert seeds_of(tmp_path) == seeds_of(ran.results)
    keep = ["trial_key", "status"]
    mine, theirs = (read_table(r, "trials")[keep] for r in (tmp_path, ran.results))
    assert mine.equals(theirs)
    assert decisions(tmp_path) == decisions(ran.results)


def test_a_second_driver_asks_for_the_round_that_the_first_is_in(
    ran: Any, study: Raw, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    lost = {(row, seeds[-1]) for row, seeds in seeds_of(results).items() if len(seeds) == 5}
    assert lost
    plan = make_plan(Study.model_validate(study))
    store = ArtifactStore(results / "store")
    for trial in plan.trials:
        if (trial.configuration, trial.seed) in lost:
            for part in (results / "ledger").glob(f"*/{trial.key}.parquet"):
                part.unlink()
            store.quarantine("scores", trial.key)
    one, other = (Deciding(plan, results, store) for _ in range(2))
    assert set(one.rounds.waits_for) == set(other.rounds.waits_for) == lost
    assert [j.key for j in one.to_run(one.plan.pending(store))] == [
        j.key for j in other.to_run(other.plan.pending(store))
    ]


def test_a_cancelled_row_is_not_trained_for_the_round_and_the_other_comparison_goes_on(
    ran: Any, study: Raw, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    plan = make_plan(Study.model_validate(study))
    store = ArtifactStore(results / "store")
    for trial in plan.trials:
        if trial.seed == 4:
            for part in (results / "ledger").glob(f"*/{trial.key}.parquet"):
                part.unlink()
            store.quarantine("scores", trial.key)
    before = Deciding(plan, results, store)
    assert {row for row, _ in before.rounds.waits_for} == {CNN, VIT}
    cancel_row(results, plan.study.study, CNN, "no use")
    after = Deciding(plan, results, store)
    assert after.rounds.waits_for == ()  # nothing else of the round is needed
    cancelled = after.rounds.answers[RowPair(CNN, VIT)]
    assert cancelled.note is not None
    assert cancelled.note.startswith(f"{CNN} was cancelled by you on ")
    assert cancelled.note.endswith("(no use); it gets no more seeds.")
    assert len(cancelled.differences) == 4
    taught = RowPair(TAUGHT, VIT)
    assert after.rounds.answers[taught] == before.rounds.answers[taught]


def test_a_failed_trial_ends_its_round_and_is_tried_again_while_its_comparison_is_open(
    study: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = studies.stages.job.train_job

    def failing(job: Any, *rest: Any, **more: Any) -> Any:
        if job.name == CNN and job.seed == 3:
            raise RuntimeError("out of luck")
        return real(job, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(studies.stages.job, "train_job", failing)
        first = run(study, tmp_path)
    assert list(first.result.failed) == [f"{CNN}, seed 3"]
    assert seeds_of(tmp_path)[VIT] == [0, 1, 2, 3, 4]  # the round went on without the pair
    again = run(study, tmp_path)
    assert (again.result.trained, again.result.remaining, again.result.failed) == (1, 0, {})


def test_the_plan_shows_the_first_looks_and_the_most_that_they_can_cost(
    ran: Any, study: Raw, tmp_path: Path
) -> None:
    plan = make_plan(Study.model_validate(study))
    text = describe_plan(plan, ArtifactStore(tmp_path / "store"), tmp_path)
    assert text.count("to be trained") == 9
    assert "next: seeds 0, 1 and 2 of CNN alone, ViT alone and taught, cosine global" in text
    assert "at most 15 training runs more, if every comparison gets all 5 seeds" in text


def test_the_status_says_what_is_open_and_the_record_says_so_too(ran: Any) -> None:
    (status,) = Watcher(ran.results).look()
    text = describe_status(status)
    assert all(line in text for line in ran.result.decisions)
    assert ", 0 to do" in text  # seeds that were not reached are absent


def test_the_page_has_the_path_of_each_comparison(ran: Any, tmp_path: Path) -> None:
    page = make_report(ran.results, tmp_path)
    html = page.html.read_text(encoding="utf-8")
    assert "Each comparison against the seeds" in html
    assert " missing" not in html.partition("<body>")[2]
    names = {table.name for table in page.tables}
    assert {"decisions.csv", "decision_looks.csv"} <= names
    opened = studies.open_results(ran.results)
    looks = opened.table("decision_looks").numbers
    ended = opened.table("decisions").numbers
    for row in ended.itertuples():
        of_row = looks[looks["configuration"] == row.configuration]
        assert list(of_row["seeds"]) == list(range(2, row.seeds + 1))
        assert row.difference_mean == pytest.approx(of_row["difference_mean"].iloc[-1])


def test_the_mean_difference_is_that_of_the_outcomes(ran: Any) -> None:
    opened = studies.open_results(ran.results)
    values = opened.outcomes().set_index(["configuration", "seed"])["per_image_iou"]
    for row in opened.table("decisions").numbers.itertuples():
        gains = values[row.configuration] - values[VIT]
        expected = gains.loc[: row.seeds - 1].mean()
        assert row.difference_mean == pytest.approx(expected)


def test_the_ledger_keeps_what_was_asked(ran: Any) -> None:
    (text,) = set(read_table(ran.results, "plan")["decide"])
    asked = json.loads(text)
    assert asked["comparisons"] == [[CNN, VIT], [TAUGHT, VIT]]
    assert asked["seeds"] == [0, 1, 2, 3, 4]


def test_a_rule_that_changes_after_trainings_is_said(
    ran: Any, study: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    assert not any("decide has changed" in line for line in run(study, results).said)
    smaller = {**study, "decide": {**study["decide"], "smallest": 60}}
    assert any("decide has changed" in line for line in run(smaller, results).said)


def test_the_status_of_a_round_that_is_over_says_that_running_again_goes_on(
    ran: Any, tmp_path: Path
) -> None:
    results = shutil.copytree(ran.results, tmp_path / "results")
    rows = read_table(results, "plan")
    first = rows[rows["seed"] < 3]
    write_part(results, "plan", "tiny", first.astype(object).where(first.notna(), None).to_dict(
        "records"
    ))  # fmt: skip
    for trial in rows[rows["seed"] >= 3].itertuples():
        for part in (results / "ledger").glob(f"*/{trial.trial_key}.parquet"):
            part.unlink()
    (status,) = Watcher(results).look()
    assert status.counts.total() == status.counts["done"]
    assert not status.ended
    assert "the next round of seeds is to be begun" in describe_status(status)


@pytest.mark.slow
def test_through_ray_the_same_is_trained_and_decided(
    ran: Any, study: Raw, ray_here: None, tmp_path: Path
) -> None:
    plan = make_plan(Study.model_validate(study))
    result = run_plan(plan, tmp_path, ArtifactStore(tmp_path / "store"))
    assert (result.failed, result.remaining) == ({}, 0)
    assert result.decisions == ran.result.decisions
    assert seeds_of(tmp_path) == seeds_of(ran.results)
    assert decisions(tmp_path) == decisions(ran.results)
