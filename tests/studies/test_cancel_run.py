"""Cancelled rows in a run: skipped, ended while it goes on, taken back, seen on the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import studies.stages.job as stage
from reports import make_report
from reports.ledger import cancel_row, take_row_back, write_part
from reports.ledger.parts import read_table
from studies.cli.plan_text import describe_plan
from studies.planning import is_cancelled, without_rows
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages import Outcome, RunContext, WorkerShare, run_job
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]
Run = Callable[..., Any]

CNN, VIT, TAUGHT = "CNN alone", "ViT alone", "taught, cosine global"


@pytest.fixture
def study(shared_tiny: Raw) -> Raw:
    return {**shared_tiny, "configurations": shared_tiny["configurations"][:3]}


def trained(results: Path) -> set[str]:
    return set(read_table(results, "trials")["configuration"])


def test_a_network_is_left_out_where_cancelled_rows_alone_need_it(study: Raw) -> None:
    plan = make_plan(Study.model_validate(study))
    cnn, vit, taught = plan.jobs.values()

    def left(*rows: str) -> list[tuple[str, int]]:
        return [(key, len(job.trials)) for key, job in without_rows(plan, rows).jobs.items()]

    assert left() == [(cnn.key, 1), (vit.key, 1), (taught.key, 1)]
    assert left(CNN) == [(cnn.key, 0), (vit.key, 1), (taught.key, 1)]  # it teaches
    assert left(VIT) == [(cnn.key, 1), (taught.key, 1)]
    assert left(TAUGHT) == [(cnn.key, 1), (vit.key, 1)]
    assert left(CNN, TAUGHT) == [(vit.key, 1)]


def test_a_worker_finds_the_same_in_the_ledger(study: Raw, tmp_path: Path) -> None:
    plan = make_plan(Study.model_validate(study))
    write_part(tmp_path, "plan", plan.study.file_name, plan.ledger_rows())
    for rows in ({CNN}, {VIT}, {CNN, TAUGHT}):
        for row in rows:
            cancel_row(tmp_path, plan.study.study, row)
        kept = without_rows(plan, rows).jobs.keys()
        ended = {k for k, job in plan.jobs.items() if is_cancelled(tmp_path, "tiny", job)}
        assert ended == plan.jobs.keys() - kept
        assert not any(is_cancelled(tmp_path, "other", job) for job in plan.jobs.values())
        for row in rows:
            take_row_back(tmp_path, plan.study.study, row)


@pytest.mark.ci
def test_a_cancelled_row_is_skipped_until_it_is_taken_back(
    study: Raw, run: Run, tmp_path: Path
) -> None:
    cancel_row(tmp_path, "tiny", VIT, "no use")
    first = run(study, tmp_path)
    assert trained(tmp_path) == {CNN, TAUGHT}
    assert (first.result.trained, first.result.remaining) == (2, 0)
    assert first.result.cancelled[0].startswith(f"{VIT}: cancelled by you on ")
    plan = make_plan(Study.model_validate(study))
    store = ArtifactStore(tmp_path / "store")
    said = describe_plan(plan, store, tmp_path)
    assert "cancelled, not to be run" in said
    assert "3 trials, 0 training runs to do" in said
    page = make_report(tmp_path, tmp_path / "report").markdown.read_text(encoding="utf-8")
    assert f"{VIT} was cancelled by you on " in page
    assert "(no use): 0 of its 1 planned trials are healthy" in page
    take_row_back(tmp_path, "tiny", VIT)
    assert run(study, tmp_path).result.trained == 1
    assert trained(tmp_path) == {CNN, VIT, TAUGHT}


@pytest.mark.ci
def test_a_row_that_is_cancelled_while_a_run_goes_on_ends_in_it(
    study: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.planning.cancelled_jobs.CANCELLED_LOOK_S", 0.0)
    begun: list[str] = []

    def cancels(job: Any, context: RunContext, share: WorkerShare) -> Outcome:
        begun.append(job.trials[0].configuration)
        cancel_row(tmp_path, "tiny", TAUGHT)  # waits
        cancel_row(tmp_path, "tiny", begun[0])  # runs, and teaches nobody any more
        return run_job(job, context, share)

    with monkeypatch.context() as patched:
        patched.setattr("studies.scheduling.in_process.run_job", cancels)
        ran = run(study, tmp_path)
    assert begun == [CNN, VIT]
    assert trained(tmp_path) == {VIT}
    assert (ran.result.trained, ran.result.remaining, ran.result.failed) == (1, 0, {})
    assert len(ran.result.cancelled) == 2


@pytest.mark.ci
def test_a_training_ends_after_the_epoch_and_goes_on_from_it_when_its_row_is_taken_back(
    study: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = {**study, "configurations": study["configurations"][:1]}
    study["training"] = {**study["training"], "epochs": 3}
    seen: list[int] = []
    made = stage._after_epoch

    def counted(*about: Any) -> Callable[[Any], None]:
        after = made(*about)

        def on_epoch(epoch: Any) -> None:
            seen.append(epoch.epoch)
            if len(seen) == 2:
                cancel_row(tmp_path, "tiny", CNN)
            after(epoch)

        return on_epoch

    monkeypatch.setattr(stage, "_after_epoch", counted)
    ran = run(study, tmp_path)
    assert (ran.result.trained, ran.result.failed) == (0, {})
    assert seen == [0, 1]
    assert read_table(tmp_path, "trials").empty
    take_row_back(tmp_path, "tiny", CNN)
    assert run(study, tmp_path).result.trained == 1
    assert seen == [0, 1, 2]
