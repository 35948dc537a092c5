"""Progress lines: counts, and an estimate of what is left."""

import logging

import pytest

import studies.scheduling.progress
from studies.formatting import duration
from studies.planning.images import ImageSplits
from studies.planning.job import TrainingJob, Trial
from studies.scheduling.progress import Progress
from studies.spec.configuration import Configuration
from studies.stages.handover import JobStatus, Outcome

Log = pytest.LogCaptureFixture

NO_IMAGES = ImageSplits(16, {})


def job(
    name: str, seed: int, paradigm: str = "single", epochs: int = 4, key: str = ""
) -> TrainingJob:
    settings = {
        "seed": seed,
        "paradigm": paradigm,
        "student": {"model": "resnet18"},
        "image_size": 64,
        "training": {"epochs": epochs, "batch_size": 8, "precision": "auto"},
    }
    row = Configuration(paradigm="single", student="vit")
    trials = (Trial("key", name, 0, seed, row),) if name else ()
    return TrainingJob(key or f"{name} {seed}", settings, NO_IMAGES, trials=trials)


def ok(seconds: float | None = None) -> Outcome:
    return Outcome(JobStatus.OK, seconds=seconds)


@pytest.fixture(autouse=True)
def _every_line(caplog: Log) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(studies.scheduling.progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_tells_the_number_the_time_and_what_is_left(clock: list[float], caplog: Log) -> None:
    jobs = [job("ViT alone", seed) for seed in range(12)]
    progress = Progress(jobs)
    clock[0] += 30
    progress.ended(jobs[0], ok())
    clock[0] += 30
    progress.ended(jobs[1], ok())
    for one in jobs[2:]:
        progress.ended(one, ok())
    # One of 12 in 30 s leaves 11 x 30 s; two in 60 s leave 10 x 30 s.
    assert caplog.messages[0] == "[ 1/12] ViT alone, seed 0  (30 s, about 5 min 30 s left)"
    assert caplog.messages[1] == "[ 2/12] ViT alone, seed 1  (1 min 00 s, about 5 min 00 s left)"
    assert caplog.messages[-1] == "[12/12] ViT alone, seed 11  (1 min 00 s)"


def test_runs_that_took_no_time_are_counted(clock: list[float], caplog: Log) -> None:
    jobs = [job("alone", seed) for seed in range(5)]
    progress = Progress(jobs)
    progress.at_once = 1
    for one in jobs[:3]:
        clock[0] += 1
        progress.ended(one, ok(0.0))
    assert left(caplog) == "2 s"


def left(caplog: Log) -> str:
    return caplog.messages[-1].split("about ")[1].split(" left")[0]


def test_what_is_left_counts_by_what_its_kind_took(clock: list[float], caplog: Log) -> None:
    """One after another: two single runs of 10 s and a co-training of 30 s; one and one are left.

    By counting alone it would be 2 / 3 * 50 s.
    """
    jobs = [job("alone", seed) for seed in range(3)]
    jobs += [job("both", seed, "co-training") for seed in range(2)]
    progress = Progress(jobs)
    for one, seconds in ((jobs[0], 10), (jobs[1], 10), (jobs[3], 30)):
        clock[0] += seconds
        progress.ended(one, ok(seconds))
    assert left(caplog) == "40 s"


def test_a_kind_that_none_has_finished_counts_by_its_passes_over_the_images(
    clock: list[float], caplog: Log
) -> None:
    """Co-training takes two networks through every epoch; the last run has three times as many."""
    jobs = [job("alone", 0), job("both", 0, "co-training"), job("long", 0, epochs=12)]
    progress = Progress(jobs)
    clock[0] += 10
    progress.ended(jobs[0], ok(10))
    assert left(caplog) == "50 s"


def test_runs_side_by_side_are_counted_from_the_first_on(clock: list[float], caplog: Log) -> None:
    """Four at a time, 10 s each: when the first of eight ends, seven are left for 70 s of work."""
    jobs = [job("alone", seed) for seed in range(8)]
    progress = Progress(jobs)
    progress.at_once = 4
    clock[0] += 10
    progress.ended(jobs[0], ok(10))
    assert left(caplog) == "18 s"
    for one in jobs[1:7]:
        progress.ended(one, ok(10))
    # One run is left, however many could run beside it.
    assert left(caplog) == "10 s"


def test_later_what_ran_at_a_time_is_what_was_seen(clock: list[float], caplog: Log) -> None:
    """Eight were to fit at a time; 16 runs of 10 s have taken 80 s, so two ran at a time."""
    jobs = [job("alone", seed) for seed in range(20)]
    progress = Progress(jobs)
    progress.at_once = 8
    clock[0] += 80
    for one in jobs[:16]:
        progress.ended(one, ok(10))
    assert left(caplog) == "20 s"


def test_what_is_only_scored_does_not_count_as_a_training_run(
    clock: list[float], caplog: Log
) -> None:
    jobs = [job("alone", seed) for seed in range(4)]
    progress = Progress(jobs, only_scored={jobs[0].key, jobs[1].key})
    for one, seconds in ((jobs[0], 1), (jobs[2], 20)):
        clock[0] += seconds
        progress.ended(one, ok(seconds))
    assert left(caplog) == "21 s"


def test_a_failure_of_a_second_does_not_make_the_others_short(
    clock: list[float], caplog: Log
) -> None:
    jobs = [job("alone", seed) for seed in range(3)]
    progress = Progress(jobs)
    clock[0] += 20
    progress.ended(jobs[0], ok(20))
    clock[0] += 1
    progress.ended(jobs[1], Outcome(JobStatus.FAILED, "no room", seconds=1))
    assert left(caplog) == "20 s"


def test_one_job_more_counts_with_its_own_kind(clock: list[float], caplog: Log) -> None:
    jobs = [job("alone", 0), job("alone", 1)]
    progress = Progress(jobs)
    progress.more(job("both", 0, "co-training"))
    clock[0] += 10
    progress.ended(jobs[0], ok(10))
    assert caplog.messages[-1].startswith("[1/3] ")
    assert left(caplog) == "30 s"


@pytest.mark.parametrize("status", ["failed", "collapsed"])
def test_an_end_that_is_not_ok_says_why(clock: list[float], caplog: Log, status: str) -> None:
    one = job("ViT alone", 3)
    Progress([one]).ended(one, Outcome(JobStatus(status), "no room"))
    assert caplog.messages == [f"[1/1] ViT alone, seed 3  {status}: no room  (0 s)"]


def test_a_teacher_that_no_row_reports_is_called_by_its_model(
    clock: list[float], caplog: Log
) -> None:
    teacher = job("", 0)
    Progress([teacher]).ended(teacher, Outcome(JobStatus.OK))
    assert caplog.messages == ["[1/1] teacher resnet18, seed 0  (0 s)"]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_jobs(seconds: float, written: str) -> None:
    assert duration(seconds) == written
