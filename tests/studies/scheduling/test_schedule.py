"""The order of jobs, and what their ends mean for the others; without Ray and without training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import studies.store.leases
from reports.storage.opening import open_folder
from studies.planning.images import ImageSplits, StudyImages
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.scheduling.schedule import JOB_RETRIES, Scheduler
from studies.scheduling.stopping import Stop
from studies.stages.handover import JobStatus, Outcome
from studies.store.artifacts import ArtifactStore
from studies.store.leases import Lease, Leases
from wsss_core.data.scenes.scene import SceneSettings
from wsss_core.data.scenes.source import SceneSource

SOURCE = SceneSource(SceneSettings(size=16), train=4, tune=2, test=2)
SPLITS = ImageSplits(16, {split: SOURCE.fingerprint(split) for split in ("train", "tune", "test")})
IMAGES = StudyImages(SOURCE, SPLITS)
OK = Outcome(JobStatus.OK)
ELSEWHERE = Outcome(JobStatus.LEASED_ELSEWHERE)
CORRUPT = Outcome(JobStatus.INPUT_CORRUPT, "train/t is corrupt")


def job(key: str, parent: str | None = None) -> TrainingJob:
    settings = {
        "seed": 0,
        "paradigm": "single",
        "student": {"model": "resnet18"},
        "image_size": 16,
        "training": {"epochs": 1, "batch_size": 1},
    }
    trial: Any = Trial(f"{key}0", f"row {key}", 0, 0, None)  # type: ignore[arg-type]
    return TrainingJob(key, settings, SPLITS, parent=parent, trials=(trial,))


class Told:
    """Stands in for `Progress`."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.more_jobs: list[str] = []

    def ended(self, job: TrainingJob, outcome: Outcome) -> None:
        self.ends.append((job.key, outcome.status))

    def more(self, job: TrainingJob) -> None:
        self.more_jobs.append(job.key)


@dataclass
class Made:
    """A schedule over a store, in which artifacts are made by `put`."""

    schedule: Scheduler
    store: ArtifactStore
    told: Told
    stop: Stop
    refined: list[str] = field(default_factory=list)

    def put(self, stage: str, key: str) -> None:
        with self.store.build(stage, key, {}) as folder:
            (folder / "content").write_text(key)

    def given_out(self) -> list[str]:
        """All that can be started at the next look."""
        found = []
        self.schedule.wait()
        while (job := self.schedule.next()) is not None:
            found.append(job.key)
        return found


Make = Callable[..., Made]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make(
        *jobs: TrainingJob, of: tuple[TrainingJob, ...] = (), trained: tuple[str, ...] = ()
    ) -> Made:
        store, told, stop = ArtifactStore(tmp_path / "store"), Told(), Stop()
        store.make()
        whole: Any = Plan(None, {u.key: u for u in (*of, *jobs)}, None, [IMAGES])  # type: ignore[arg-type]
        schedule = Scheduler(
            whole, list(jobs), store, told, stop,  # type: ignore[arg-type]
            lambda job: OK, run="mine", look_every=0.0,
        )  # fmt: skip
        one = Made(schedule, store, told, stop)
        schedule.on_ok = lambda job, _: one.refined.append(job.key)
        for key in trained:
            one.put("train", key)
        return one

    return make


def other_driver(made: Made, key: str) -> Lease:
    lease = Leases(open_folder(made.store.where)).take("train", key, run="another")
    assert lease is not None
    return lease


def test_a_student_is_not_started_before_its_teacher_has_ended(made: Make) -> None:
    one = made(job("t"), job("s", "t"), job("a"))
    assert one.given_out() == ["t", "a"]
    one.schedule.came_back("a", OK)
    assert one.given_out() == []
    one.schedule.came_back("t", OK)
    assert one.given_out() == ["s"]
    assert not one.schedule.all_ended
    one.schedule.came_back("s", OK)
    assert one.schedule.all_ended


def test_jobs_that_others_wait_for_come_first_and_the_rest_in_order(made: Make) -> None:
    one = made(job("a"), job("b"), job("t"), job("s", "t"), job("u"))
    found = []
    while (next_one := one.schedule.next()) is not None:
        found.append(next_one.key)
        one.schedule.came_back(next_one.key, OK)
    assert found == ["t", "a", "b", "s", "u"]


def test_a_teacher_that_is_not_among_the_jobs_is_there_already(made: Make) -> None:
    assert made(job("s", "trained")).given_out() == ["s"]


def test_a_teacher_that_fails_holds_nobody_up(made: Make) -> None:
    one = made(job("t"), job("s", "t"))
    one.given_out()
    one.schedule.came_back("t", Outcome(JobStatus.FAILED, "no"))
    assert one.given_out() == ["s"]


def test_the_teacher_of_one_seed_frees_the_students_of_that_seed_alone(made: Make) -> None:
    one = made(job("t0"), job("t1"), job("s0", "t0"), job("s1", "t1"))
    assert one.given_out() == ["t0", "t1"]
    one.schedule.came_back("t1", OK)
    assert one.given_out() == ["s1"]


def test_a_job_in_another_drivers_hands_is_not_started_and_its_students_wait(made: Make) -> None:
    one = made(job("t"), job("s", "t"), job("a"))
    with other_driver(one, "t"):
        assert one.given_out() == ["a"]
        one.schedule.came_back("a", OK)
        assert one.given_out() == []
        assert one.schedule.running == 0


def test_a_job_that_comes_back_as_elsewhere_is_started_when_its_lease_is_given_back(
    made: Make,
) -> None:
    one = made(job("a"), job("b"))
    assert one.given_out() == ["a", "b"]
    lease = other_driver(one, "a")
    one.schedule.came_back("a", ELSEWHERE)
    assert one.given_out() == []
    assert one.told.ends == []
    lease.release()
    assert one.given_out() == ["a"]


def test_what_another_driver_has_finished_is_not_started_but_has_ended(made: Make) -> None:
    one = made(job("a"), job("b"))
    lease = other_driver(one, "a")
    assert one.given_out() == ["b"]
    one.put("train", "a")
    one.put("scores", "a0")
    assert one.given_out() == []
    lease.release()
    assert one.given_out() == []
    assert one.told.ends == [("a", "ok")]
    assert one.refined == []


def test_what_a_dead_driver_left_is_taken_over(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(job("a"))
    lease = other_driver(one, "a")
    assert one.given_out() == []
    lease._ended.set()  # its heart stands still, and nobody gives the lease back
    lease._thread.join()
    monkeypatch.setattr(studies.store.leases, "gone", lambda pid, process: True)
    assert one.given_out() == ["a"]
    assert Leases(open_folder(one.store.where)).take("train", "a", run="mine") is not None


def test_a_lease_that_a_dead_worker_of_the_same_run_left_does_not_hold_its_job_up(
    made: Make,
) -> None:
    one = made(job("a"))
    left = Leases(open_folder(one.store.where)).take("train", "a", run="mine")
    assert one.given_out() == ["a"]
    again = Leases(open_folder(one.store.where)).take("train", "a", run="mine")
    assert left is not None
    assert again is not None


def test_workers_that_die_without_coming_further_are_started_again_so_often_and_no_more(
    made: Make,
) -> None:
    one = made(job("a"), job("s", "a"))
    for _ in range(JOB_RETRIES):
        assert one.given_out() == ["a"]
        one.schedule.died("a", node_lost=False)
    assert one.given_out() == ["a"]
    one.schedule.died("a", node_lost=False)
    assert one.told.ends == [("a", "failed")]
    assert one.schedule.outcomes["a"].unrecorded
    assert f"died {JOB_RETRIES + 1} times" in one.schedule.outcomes["a"].error
    assert one.given_out() == ["s"]


def test_a_job_that_another_driver_finished_before_the_last_death_has_not_failed(
    made: Make,
) -> None:
    one = made(job("a"))
    for _ in range(JOB_RETRIES + 1):
        assert one.given_out() == ["a"]
        if one.schedule._retries.get("a") == JOB_RETRIES:
            one.put("train", "a")
            one.put("scores", "a0")
            one.schedule._progress_then["a"] = one.schedule._progress_of(one.schedule._running["a"])
        one.schedule.died("a", node_lost=False)
    assert one.told.ends == [("a", "ok")]


def test_a_death_after_another_epoch_does_not_count_with_those_before(made: Make) -> None:
    one = made(job("a"))
    checkpoint = one.store.scratch("train", "a") / "checkpoint.pt"
    for epoch in range(5 * JOB_RETRIES):
        assert one.given_out() == ["a"]
        checkpoint.write_text("epoch" * epoch)
        one.schedule.died("a", node_lost=False)
    assert one.told.ends == []


def test_the_loss_of_a_node_is_no_fault_of_the_job(made: Make) -> None:
    one = made(job("a"))
    for _ in range(5 * JOB_RETRIES):
        assert one.given_out() == ["a"]
        one.schedule.died("a", node_lost=True)
    assert one.told.ends == []


def test_a_teacher_found_damaged_is_trained_again_before_its_student(made: Make) -> None:
    teacher, student = job("t"), job("s", "t")
    one = made(student, of=(teacher,), trained=("t",))
    assert one.given_out() == ["s"]
    one.store.quarantine("train", "t")
    one.schedule.came_back("s", CORRUPT)
    assert one.given_out() == ["t"]
    assert one.told.more_jobs == ["t"]
    one.put("train", "t")
    one.schedule.came_back("t", OK)
    assert one.given_out() == ["s"]


def test_what_is_found_damaged_again_and_again_has_failed(made: Make) -> None:
    one = made(job("s", "t"), of=(job("t"),), trained=("t",))
    for _ in range(JOB_RETRIES):
        assert one.given_out() == ["s"]
        one.schedule.came_back("s", CORRUPT)
    assert one.given_out() == ["s"]
    one.schedule.came_back("s", CORRUPT)
    assert one.told.ends == [("s", "failed")]
    assert one.schedule.outcomes["s"].error == "train/t is corrupt"


GPU_FAILED = Outcome(JobStatus.GPU_FAILED, "GPU 1 of node7: ECC")


def test_a_job_that_met_a_gpu_which_cannot_be_used_is_started_again_first_of_all(
    made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one = made(job("a"), job("b"))
    first = one.schedule.next()
    assert first is not None
    assert one.schedule.waiting == 1
    one.schedule.came_back(first.key, GPU_FAILED)
    assert one.schedule.waiting == 2
    assert caplog.messages == ["  GPU 1 of node7: ECC"]
    assert one.given_out() == ["a", "b"]
    assert one.schedule.waiting == 0
    one.schedule.came_back("a", OK)
    assert one.told.ends == [("a", "ok")]


def test_a_job_that_met_so_many_of_them_has_failed_but_not_in_the_ledger(made: Make) -> None:
    one = made(job("a"), job("b"))
    for _ in range(JOB_RETRIES + 1):
        assert one.given_out()[0] == "a"
        one.schedule.came_back("a", GPU_FAILED)
    assert one.told.ends == [("a", "failed")]
    assert one.schedule.outcomes["a"].unrecorded
    said = one.schedule.outcomes["a"].error
    assert said == f"met {JOB_RETRIES + 1} GPUs that cannot be used; the last: GPU 1 of node7: ECC"


def test_a_storage_that_is_away_ends_the_run_and_fails_nobody(made: Make) -> None:
    one = made(job("a"), job("b"), job("c"))
    first = one.schedule.next()
    assert first is not None
    one.schedule.came_back(first.key, Outcome(JobStatus.STORAGE_DOWN, "/data: no space left"))
    assert one.stop.storage == "/data: no space left"
    assert one.given_out() == []
    assert one.told.ends == []


def test_a_run_that_was_asked_to_end_starts_no_more(made: Make) -> None:
    one = made(job("a"), job("b"))
    one.schedule.next()
    one.stop.signal = "SIGTERM"
    assert one.given_out() == []
    assert not one.schedule.can_start


class Cancelled:
    """Stands in for the rows that were cancelled: names jobs that are not to be run any more."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)

    def ending(self, jobs: Any) -> list[Any]:
        return [job for job in jobs if job.key in self.keys]


def test_a_waiting_job_whose_row_is_cancelled_ends_and_one_that_runs_is_left_to_its_worker(
    made: Make,
) -> None:
    one = made(job("a"), job("b"), job("c"))
    running = one.schedule.next()
    assert running is not None
    one.schedule.cancelled = Cancelled("a", "b")
    assert one.given_out() == ["c"]
    assert one.told.ends == [("b", "cancelled")]
    one.schedule.came_back("a", Outcome(JobStatus.CANCELLED, "its row was cancelled"))
    one.schedule.came_back("c", OK)
    assert one.schedule.all_ended
    assert one.told.ends == [("b", "cancelled"), ("a", "cancelled"), ("c", "ok")]
    assert one.refined == ["c"]


def test_a_job_in_another_drivers_hands_is_not_waited_for_once_its_row_is_cancelled(
    made: Make,
) -> None:
    one = made(job("a"))
    with other_driver(one, "a"):
        assert one.given_out() == []
        assert not one.schedule.all_ended
        one.schedule.cancelled = Cancelled("a")
        assert one.given_out() == []
        assert one.schedule.all_ended
