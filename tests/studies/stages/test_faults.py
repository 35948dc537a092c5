"""Faults of a storage, of GPUs and of other owners, met by real runs in this process."""

import errno
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import studies.stages.failures
import studies.stages.job
from reports.ledger.parts import read_table
from reports.storage.folder import StorageError
from studies.planning.job import TrainingJob
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.device import UNCOUNTED
from studies.stages.failures import is_gpu_failure
from studies.stages.handover import JobStatus, RunContext
from studies.stages.job import failed_outcome, run_job
from studies.stages.training import TrainingOutcome, train_job
from studies.store.artifacts import ArtifactStore
from studies.store.leases import Lease
from wsss_core.errors import InputError
from wsss_core.progress import made_progress

Raw = dict[str, Any]
Run = Callable[..., Any]


class Failing:
    """Stands in for `train_job`: raises what it is given, one after the other, then trains."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *arguments: Any, **options: Any) -> TrainingOutcome:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return train_job(*arguments, **options)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Failing]:
    def make(*errors: Exception) -> Failing:
        failing = Failing(*errors)
        monkeypatch.setattr(studies.stages.job, "train_job", failing)
        monkeypatch.setattr(studies.stages.failures, "PAUSE_S", 0.0)
        return failing

    return make


@pytest.fixture
def vit_alone(tiny: Raw) -> Raw:
    tiny["configurations"] = tiny["configurations"][1:2]
    return tiny


def statuses(results: Path) -> dict[str, str]:
    table = read_table(results, "trials")
    return dict(zip(table["configuration"], table["status"], strict=True))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_an_error_of_a_storage_that_came_back_is_no_failure_of_the_trial(
    vit_alone: Raw, run: Run, tmp_path: Path, failing: Callable[..., Failing], error: Exception
) -> None:
    counted = failing(error)
    ran = run(vit_alone, tmp_path)
    assert counted.calls == 2
    assert ran.result.failed == {}
    assert statuses(tmp_path) == {"ViT alone": "ok"}


def test_an_error_that_does_not_pass_is_a_failure_after_a_few_tries(
    vit_alone: Raw, run: Run, tmp_path: Path, failing: Callable[..., Failing]
) -> None:
    counted = failing(*[OSError(errno.EIO, "Input/output error")] * 10)
    ran = run(vit_alone, tmp_path)
    assert counted.calls == studies.stages.failures.TRIES
    assert ran.result.failed == {"ViT alone, seed 0": "OSError: [Errno 5] Input/output error"}
    assert statuses(tmp_path) == {"ViT alone": "failed"}


ECC = "CUDA error: uncorrectable ECC error encountered"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(ECC),
        RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
        RuntimeError("No CUDA GPUs are available"),
        AssertionError("Torch not compiled with CUDA enabled"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_known_by_what_cuda_says_of_it(error: Exception) -> None:
    assert is_gpu_failure(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError(ECC),
    ],
)
def test_what_may_be_the_code_s_own_fault_is_not_put_on_the_gpu(error: Exception) -> None:
    assert not is_gpu_failure(error)


def test_a_gpu_that_fails_ends_a_run_in_this_process_and_fails_no_trial(
    vit_alone: Raw, run: Run, tmp_path: Path, failing: Callable[..., Failing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    failing(RuntimeError(ECC))
    with pytest.raises(InputError, match=f"^GPU 3 of .*: RuntimeError: {ECC}$"):
        run(vit_alone, tmp_path)
    assert statuses(tmp_path) == {}
    assert run(vit_alone, tmp_path).result.failed == {}
    assert statuses(tmp_path) == {"ViT alone": "ok"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "checkpoint.pt"),
        StorageError("/data: the storage stays out of reach"),
    ],
)
def test_a_full_or_absent_storage_ends_the_run_with_what_is_finished_and_fails_nobody(
    tiny: Raw, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tiny["configurations"] = tiny["configurations"][:2]

    def second_fails(job: TrainingJob, *arguments: Any, **options: Any) -> TrainingOutcome:
        if "patch16" in job.settings["student"]["model"]:
            raise error
        return train_job(job, *arguments, **options)

    monkeypatch.setattr(studies.stages.job, "train_job", second_fails)
    with pytest.raises(StorageError, match=r"; 1 of 2 trials are done$") as raised:
        run(tiny, tmp_path)
    assert str(getattr(error, "filename", None) or error).split(":")[0] in str(raised.value)
    assert statuses(tmp_path) == {"CNN alone": "ok"}
    monkeypatch.undo()
    assert run(tiny, tmp_path).result.trained == 1
    assert statuses(tmp_path) == {"CNN alone": "ok", "ViT alone": "ok"}


def test_a_failure_that_cannot_be_written_is_said_to_be_unrecorded(
    vit_alone: Raw,
    tmp_path: Path,
    failing: Callable[..., Failing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(Study.model_validate(vit_alone))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    plan.image_sets[0].decode(store)
    (job,) = plan.jobs.values()
    failing(ValueError("the trial's own"))

    def full(*_: Any) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(studies.stages.failures, "write_part", full)
    context = RunContext.of(plan, store, tmp_path)
    (tmp_path / ".wsss").write_text("")
    outcome = run_job(job, context, UNCOUNTED)
    assert (outcome.status, outcome.unrecorded) == (JobStatus.FAILED, True)
    assert outcome.error == "ValueError: the trial's own"


@pytest.fixture
def one_job(vit_alone: Raw, tmp_path: Path) -> tuple[TrainingJob, RunContext, ArtifactStore, Path]:
    """A job that has not run, its context, its store and its results folder."""
    plan = make_plan(Study.model_validate(vit_alone))
    store = ArtifactStore(tmp_path / "store")
    store.make()
    plan.image_sets[0].decode(store)
    (tmp_path / ".wsss").write_text("")
    (job,) = plan.jobs.values()
    return job, RunContext.of(plan, store, tmp_path), store, tmp_path


Job = tuple[TrainingJob, RunContext, ArtifactStore, Path]


def takes_over(store: ArtifactStore, job: TrainingJob, context: RunContext) -> None:
    """Do what another driver does whose observer saw the owner's heart stand still."""
    for file in store.folder.joined("leases").listing():
        store.folder.joined("leases").delete(file)
    other = replace(context, run_id="another")
    assert run_job(job, other, UNCOUNTED).status is JobStatus.OK


def test_a_failure_of_an_owner_that_was_replaced_leaves_its_successor_s_result_alone(
    one_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, context, store, results = one_job

    def stopped_then_fails(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        takes_over(store, job, context)
        raise ValueError("raised after the pause")

    monkeypatch.setattr(studies.stages.job, "train_job", stopped_then_fails)
    assert run_job(job, context, UNCOUNTED).status is JobStatus.LEASED_ELSEWHERE
    assert statuses(results) == {"ViT alone": "ok"}


def test_training_scoring_and_chains_report_progress_under_the_job_s_lease(
    one_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, context, *_ = one_job
    while_doing: list[str] = []
    progress, report, doing = Lease.progress, Lease.report, ["before"]
    monkeypatch.setattr(
        Lease, "progress", lambda lease: (while_doing.append(doing[-1]), progress(lease))
    )
    monkeypatch.setattr(
        Lease, "report", lambda lease, note, *rest: (doing.append(note), report(lease, note, *rest))
    )
    assert run_job(job, context, UNCOUNTED).status is JobStatus.OK
    # One when it begins, then 24 images in batches of 8.
    assert while_doing.count("before") == 1 + 3
    # At least every scored image: 8 of each of two splits.
    assert while_doing.count("scoring") >= 16
    before = len(while_doing)
    made_progress()
    assert len(while_doing) == before  # the lease is given back


def test_a_failure_that_the_driver_records_leaves_another_s_result_alone(one_job: Job) -> None:
    job, context, store, results = one_job
    takes_over(store, job, context)
    assert failed_outcome(job, context, "its worker process died").status is JobStatus.OK
    assert statuses(results) == {"ViT alone": "ok"}


def test_a_success_between_the_look_and_the_failure_s_row_is_published_over_that_row(
    one_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, context, store, results = one_job
    write = studies.stages.failures.write_part

    def others_finish_first(*given: Any) -> None:
        monkeypatch.undo()
        takes_over(store, job, context)
        write(*given)
        assert statuses(results) == {"ViT alone": "failed"}

    monkeypatch.setattr(studies.stages.failures, "write_part", others_finish_first)
    assert failed_outcome(job, context, "its worker process died").status is JobStatus.OK
    assert statuses(results) == {"ViT alone": "ok"}


def test_where_scores_are_corrupt_the_failure_stands(one_job: Job) -> None:
    job, context, store, results = one_job
    takes_over(store, job, context)
    (part,) = (store.path("scores", job.trials[0].key) / "ledger" / "trials").iterdir()
    part.write_bytes(b"rotten")
    outcome = failed_outcome(job, context, "its worker process died")
    assert (outcome.status, outcome.unrecorded) == (JobStatus.FAILED, False)
    assert statuses(results) == {"ViT alone": "failed"}
    assert not store.has("scores", job.trials[0].key)


def test_a_storage_that_is_away_for_a_moment_is_waited_for(
    vit_alone: Raw, run: Run, tmp_path: Path
) -> None:
    vit_alone["training"]["epochs"] = 6
    results, away = tmp_path / "mounted", tmp_path / "away"
    plan = make_plan(Study.model_validate(vit_alone))
    (key,) = plan.jobs
    checkpoint = results / "store" / "unfinished" / f"train-{key}" / "checkpoint.pt"
    hidden: list[str] = []

    def unmount() -> None:
        deadline = time.monotonic() + 60
        while not checkpoint.is_file() and time.monotonic() < deadline:
            time.sleep(0.005)
        results.rename(away)
        results.mkdir()  # what is left of a file system that is not mounted
        time.sleep(1.0)
        hidden.extend(entry.name for entry in results.rglob("*"))
        shutil.rmtree(results)
        away.rename(results)

    thread = threading.Thread(target=unmount)
    thread.start()
    ran = run(vit_alone, results)
    thread.join()
    assert (ran.result.failed, ran.result.remaining) == ({}, 0)
    assert statuses(results) == {"ViT alone": "ok"}
    assert hidden == [], "something was written below the empty mount point"


MOUNTED = """
set -e
mount -t tmpfs -o size=1500k tmpfs "$1/small"
"$2" -m studies.cli.main run "$1/tiny.yaml" --in-process --results "$1/small/results" \
    >"$1/first.out" 2>"$1/first.err" && exit 9 || test $? = 1
mount -o remount,size=200m "$1/small"
"$2" -m studies.cli.main run "$1/tiny.yaml" --in-process --results "$1/small/results"
cp -r "$1/small/results/ledger" "$1/ledger"
"""


def can_mount() -> bool:
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="mounts a file system of its own")
def test_a_disk_that_is_full_ends_the_run_in_one_line_and_with_room_it_goes_on(
    vit_alone: Raw, write_study: Callable[[Raw], str], tmp_path: Path
) -> None:
    vit_alone["data"]["train"] = 400
    (tmp_path / "small").mkdir()
    write_study(vit_alone)
    command = ["unshare", "-rm", "sh", "-c", MOUNTED, "sh", str(tmp_path), sys.executable]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = (tmp_path / "first.err").read_text()
    assert ended.returncode == 0, said + ended.stderr
    first, second = said.splitlines()
    assert first.startswith(f"wsss: {tmp_path}/small/results")
    assert "no space left on the storage" in first
    assert second.startswith("finished work is kept; go on with: wsss run ")
    assert statuses(tmp_path) == {"ViT alone": "ok"}
