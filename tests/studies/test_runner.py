"""Running a study again, after failures, collapses and interruptions; without Ray."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import studies.runner
import studies.stages.job
from reports.ledger.parts import read_table
from reports.storage.folder import MARK
from studies.planning.job import TrainingJob
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.handover import JobStatus, Outcome
from studies.stages.training import TrainingOutcome, seconds_by_run, train_job
from studies.store.artifacts import ArtifactStore

Raw = dict[str, Any]
Run = Callable[..., Any]
TAUGHT = "taught, cosine global"


def files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def trained(store: ArtifactStore) -> list[str]:
    return sorted(folder.name for folder in (store.root / "train").iterdir())


def trials(results: Path) -> pd.DataFrame:
    return read_table(results, "trials").set_index("configuration")


def test_a_finished_study_ends_ok_with_every_trial_in_the_ledger(finished: Any) -> None:
    assert finished.result.trained == 4
    assert (finished.result.reused, finished.result.remaining) == (0, 0)
    assert (finished.result.failed, finished.result.collapsed) == ({}, {})
    assert set(trials(finished.results)["trial_key"]) == {t.key for t in finished.plan.trials}


def test_a_row_says_how_long_its_teacher_was_trained_that_no_row_reports(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:3]
    ran = run(tiny, tmp_path / "results")
    kept = {key: TrainingOutcome.read(ran.store, key) for key in trained(ran.store)}
    alone, taught = (kept[job.key] for job in ran.plan.jobs.values() if job.trials)
    (teacher,) = (one for key, one in kept.items() if key in (taught.before or {}))
    rows = trials(ran.results)["seconds_before"]
    assert list(rows[["ViT alone", *rows.index.drop("ViT alone")]]) == [0.0, teacher.seconds]
    assert alone.before == {}


def test_what_two_rows_needed_alike_is_counted_once(finished: Any) -> None:
    key = trained(finished.store)[0]
    one = replace(TrainingOutcome.read(finished.store, key), before={"teacher": 3.0})
    assert seconds_by_run({"a": one, "b": one}) == {
        "teacher": 3.0, "a": one.seconds, "b": one.seconds,
    }  # fmt: skip
    assert seconds_by_run({"a": one, "b": replace(one, before=None)}) is None


def test_a_second_run_trains_nothing_and_leaves_every_byte(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    before = files(results)
    again = run(tiny, results)
    assert (again.result.trained, again.result.scored, again.result.reused) == (0, 0, 4)
    assert again.said == ["tiny: 4 trials, 4 done before; nothing to train"]
    assert files(results) == before


def test_a_lost_ledger_is_written_again_from_the_store_without_training(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    before = files(results)
    shutil.rmtree(results / "ledger")
    again = run(tiny, results)
    assert again.result.trained == 0
    assert files(results) == before


def test_two_studies_with_one_store_share_their_trials(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path
) -> None:
    store = shutil.copytree(finished.store.root, tmp_path / "store")
    entry = tiny["configurations"][2]
    tiny |= {"study": "other", "configurations": [{**entry, "level": ["global", "spatial"]}]}
    other = run(tiny, tmp_path / "other", store)
    assert (other.result.trained, other.result.reused) == (1, 1)
    assert len(trained(other.store)) == len(trained(finished.store)) + 1
    assert list(trials(tmp_path / "other")["status"]) == ["ok", "ok"]


def test_a_second_seed_trains_that_seed_alone(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    before = trained(finished.store)
    again = run(tiny | {"seeds": [0, 1]}, results)
    assert (again.result.trained, again.result.reused) == (4, 4)
    assert set(before) < set(trained(again.store))


def test_another_normalisation_scores_again_and_trains_nothing(
    finished: Any, tiny: Raw, run: Run, tmp_path: Path
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    again = run(tiny | {"cam": {"normalisation": "sigmoid"}}, results)
    assert (again.result.trained, again.result.scored) == (0, 4)
    assert "had 4 other trials; they stay in the ledger" in again.said[0]
    assert again.said[1] == (
        "tiny: 4 trials, 0 done before; nothing to train, 4 trained before to be scored"
    )
    assert trained(again.store) == trained(finished.store)
    assert len(list((again.store.root / "cams").iterdir())) == len(
        list((finished.store.root / "cams").iterdir())
    )


def test_a_run_leaves_no_half_made_files(finished: Any) -> None:
    assert list((finished.store.root / "unfinished").iterdir()) == []
    assert {file.name for file in finished.results.rglob(".*")} <= {".", MARK}


class Broken:
    """Stands in for `train_job`: raises for the jobs of a paradigm and model."""

    def __init__(self, paradigm: str, model: str) -> None:
        self.paradigm, self.model, self.calls = paradigm, model, 0

    def __call__(self, job: TrainingJob, *arguments: Any, **options: Any) -> TrainingOutcome:
        settings = job.settings
        if (settings["paradigm"], settings["student"]["model"]) == (self.paradigm, self.model):
            self.calls += 1
            raise MemoryError("no room for\n12 GB")
        return train_job(job, *arguments, **options)


def test_a_plan_that_lacks_trials_of_the_last_one_says_so_and_they_stay(
    tiny: Raw, run: Run, finished: Any, tmp_path: Path
) -> None:
    shutil.copytree(finished.results, tmp_path, dirs_exist_ok=True)
    noon = time.mktime((2026, 3, 5, 12, 3, 0, 0, 0, -1))
    os.utime(tmp_path / "ledger" / "plan" / "tiny.parquet", (noon, noon))
    tiny["configurations"] = tiny["configurations"][:1]
    said = run(tiny, tmp_path).said
    assert said[0] == (
        "the plan of 2026-03-05 12:03 had 3 other trials; they stay in the ledger, the report "
        "shows this plan"
    )
    assert len(trials(tmp_path)) == 4
    assert not any("other trials" in line for line in run(tiny, tmp_path).said)


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"title": "Does smoke differ?"}, "its title is 'Does it hold together?', not 'Does smoke"),
        ({"data": {"source": "scenes", "size": 32, "train": 20, "tune": 6, "test": 6}}, "its data"),
    ],
)
def test_another_study_of_a_name_is_refused_unless_it_is_asked_for(
    tiny: Raw, wsss: Any, write_study: Any, finished: Any, tmp_path: Path, change: Raw, other: str
) -> None:
    results = shutil.copytree(finished.results, tmp_path / "results")
    before = (results / "ledger" / "plan" / "tiny.parquet").read_bytes()
    spec = write_study({**tiny, **change, "configurations": tiny["configurations"][1:2]})
    command = ("run", spec, "--results", results, "--in-process")
    said = wsss(*command)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert other in said.err
    assert "--replace-plan" in said.err
    assert (results / "ledger" / "plan" / "tiny.parquet").read_bytes() == before
    assert wsss(*command, "--replace-plan").code == 0
    assert (results / "ledger" / "plan" / "tiny.parquet").read_bytes() != before


def test_a_limit_for_stalls_needs_workers(tiny: Raw, wsss: Any, write_study: Any) -> None:
    said = wsss("run", write_study(tiny), "--in-process", "--end-stalled", "30m")
    assert said.code == 2
    assert "--end-stalled: a worker of Ray can be ended; leave out --in-process" in said.err


def test_a_new_title_alone_replaces_nothing(
    tiny: Raw, run: Run, finished: Any, tmp_path: Path
) -> None:
    shutil.copytree(finished.results, tmp_path, dirs_exist_ok=True)
    assert run({**tiny, "title": "Does it hold?"}, tmp_path).result.reused == 4


def test_a_failed_trial_is_in_the_ledger_and_the_others_go_on(
    tiny: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.stages.job, "train_job", Broken("single", "vit_tiny_patch16_224"))
    ran = run(tiny, tmp_path / "results")
    table = trials(tmp_path / "results")
    assert dict(table["status"]) == {
        "CNN alone": "ok",
        "ViT alone": "failed",
        TAUGHT: "ok",
        "co-trained, cosine global": "ok",
    }
    assert table["error"]["ViT alone"] == "MemoryError: no room for 12 GB"
    assert "in __call__" in table["traceback"]["ViT alone"]
    assert ran.result.failed == {"ViT alone, seed 0": "MemoryError: no room for 12 GB"}
    assert ran.result.remaining == 1


def test_a_failed_trial_is_tried_again_and_its_row_replaced(
    tiny: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken("single", "vit_tiny_patch16_224")
    with monkeypatch.context() as patched:
        patched.setattr(studies.stages.job, "train_job", broken)
        run(tiny, tmp_path / "results")
        run(tiny, tmp_path / "results")
    assert broken.calls == 2
    again = run(tiny, tmp_path / "results")
    assert (again.result.trained, again.result.reused) == (1, 3)
    row = trials(tmp_path / "results").loc["ViT alone"]
    assert row["status"] == "ok"
    assert pd.isna(row["error"])
    assert pd.isna(row["traceback"])


def test_a_teacher_that_failed_is_named_beside_the_students_it_leaves_without(
    taught: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.stages.job, "train_job", Broken("single", "resnet18"))
    ran = run(taught, tmp_path / "results")
    assert ran.result.failed == {
        "teacher resnet18, seed 0": "MemoryError: no room for 12 GB",
        f"{TAUGHT}, seed 0": ("RuntimeError: its teacher is not trained: that training run failed"),
    }


def test_a_collapse_is_a_result_that_is_not_run_again(tiny: Raw, run: Run, tmp_path: Path) -> None:
    tiny["backbones"]["vit"]["training"] = {"learning_rate": 1e30}
    tiny["configurations"] = tiny["configurations"][:2]
    ran = run(tiny, tmp_path / "results")
    row = trials(tmp_path / "results").loc["ViT alone"]
    assert row["status"] == "collapsed"
    assert "in epoch 1" in row["error"]
    assert ran.result.collapsed == {"ViT alone, seed 0": row["error"]}
    assert (ran.result.failed, ran.result.remaining) == ({}, 0)
    before = files(tmp_path / "results")
    again = run(tiny, tmp_path / "results")
    assert (again.result.trained, again.result.reused) == (0, 2)
    assert files(tmp_path / "results") == before


def test_whom_a_collapsed_teacher_teaches_has_collapsed(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["backbones"]["cnn"]["training"] = {"learning_rate": 1e30}
    run(tiny, tmp_path / "results")
    table = trials(tmp_path / "results")
    assert table["status"][TAUGHT] == "collapsed"
    assert table["error"][TAUGHT] == f"its teacher collapsed: {table['error']['CNN alone']}"
    assert table["status"]["ViT alone"] == "ok"
    scored = read_table(tmp_path / "results", "scores")["trial_key"].unique()
    assert table["trial_key"][TAUGHT] not in scored


def test_a_network_that_its_last_step_ruined_has_collapsed(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    # One step an epoch: the loss is measured before the step and is still a number.
    tiny["backbones"]["vit"]["training"] = {"learning_rate": 1e30, "batch_size": 24}
    tiny["configurations"] = [tiny["configurations"][1]]
    ran = run(tiny, tmp_path / "results")
    row = trials(tmp_path / "results").loc["ViT alone"]
    assert row["status"] == "collapsed"
    assert "finite" in row["error"]
    assert ran.result.remaining == 0


def weights(store: ArtifactStore, key: str) -> dict[str, torch.Tensor]:
    return load_file(store.path("train", key) / "student.safetensors")


def test_a_training_that_was_broken_off_goes_on_from_its_last_epoch_to_the_same_weights(
    tiny: Raw, run: Run, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][1:2]
    tiny["training"] |= {"epochs": 4, "flip": True, "schedule": "cosine"}
    whole = run(tiny, tmp_path / "whole")
    (job,) = whole.plan.jobs.values()
    images = job.images.load(whole.store, "train")
    store = ArtifactStore(tmp_path / "broken")
    epochs: list[int] = []

    def break_off(record: Any) -> None:
        epochs.append(record.epoch)
        if record.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_job(job, images, store, on_epoch=break_off)
    assert not store.has("train", job.key)
    outcome = train_job(job, images, store, on_epoch=lambda record: epochs.append(record.epoch))
    assert epochs == [0, 1, 2, 3]
    assert [record.epoch for record in outcome.history] == [0, 1, 2, 3]
    expected, found = weights(whole.store, job.key), weights(store, job.key)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_with_ray_stubbed_out_a_dead_worker_s_trials_are_recorded_as_failed(
    tiny: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import studies.ray_tune.runner
    from studies.runner import run_plan

    error = "its worker process died 3 times"
    tiny["configurations"] = tiny["configurations"][:1]
    plan = make_plan(Study.model_validate(tiny))

    def dies(*_: Any, **__: Any) -> dict[str, Outcome]:
        (key,) = plan.jobs
        return {key: Outcome(JobStatus.FAILED, error, unrecorded=True)}

    monkeypatch.setattr(studies.ray_tune.runner, "run_with_tune", dies)
    result = run_plan(plan, tmp_path, ArtifactStore(tmp_path / "store"))
    assert result.failed == {"CNN alone, seed 0": error}
    assert trials(tmp_path)["error"]["CNN alone"] == error


def test_a_network_that_was_found_damaged_is_trained_again_though_its_scores_are_known(
    finished: Any, tmp_path: Path
) -> None:
    store = ArtifactStore(shutil.copytree(finished.store.root, tmp_path / "store"))
    damaged, gone = (job.key for job in list(finished.plan.jobs.values())[:2])
    assert finished.plan.pending(store) == []
    store.quarantine("train", damaged)
    shutil.rmtree(store.path("train", gone))  # by its owner, who has no more use for it
    assert [job.key for job in finished.plan.pending(store)] == [damaged]
    result = studies.runner.run_plan(finished.plan, tmp_path, store, in_process=True)
    assert (result.trained, result.remaining) == (1, 0)
    assert store.problems("train", damaged) == []
