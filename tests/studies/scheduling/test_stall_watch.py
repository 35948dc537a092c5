"""Training runs that stand still: what the driver says, and when it ends a worker."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from studies.planning import Plan
from studies.scheduling.stall_watch import StallWatch
from studies.store.lease_owner import LeaseOwner

OWNER = LeaseOwner(
    "train", "a", "t1", "node7", 4242, "", "2026-01-01T12:00:00+00:00",
    note="epoch 3 of 9", stalled_after=600.0, epoch_seconds=40.0,
)  # fmt: skip
JOBS: Any = {"a": SimpleNamespace(named="CNN alone, seed 2")}


class Found:
    """Stands in for the leases of a store: the owners of the run, and their idle times."""

    expiry = 90.0

    def __init__(self, *owned: tuple[LeaseOwner, float]) -> None:
        self.owned = list(owned)
        self.others: list[LeaseOwner] = []

    def of_run(self, run: str) -> list[tuple[LeaseOwner, float]]:
        assert run == "mine"
        return list(self.owned)

    def owners(self) -> list[LeaseOwner]:
        return [*(replace(owner, run="mine") for owner, _ in self.owned), *self.others]


class Workers:
    """Stands in for the workers of Ray: what is at work, finished, given up and ended."""

    def __init__(self) -> None:
        self.at_work: dict[str, float] = {}
        self.finished: set[str] = set()
        self.given_up: list[str] = []
        self.ended: list[str] = []

    def working(self) -> dict[str, float]:
        return self.at_work

    def is_finished(self, key: str) -> bool:
        return key in self.finished

    def give_up(self, key: str) -> None:
        self.given_up.append(key)

    def end_worker(self, owner: LeaseOwner) -> None:
        self.ended.append(owner.token)


class Now:
    """A clock; a look every ten seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def watching(
    found: Any, workers: Workers, *, jobs: Any = JOBS, limit: float | None = None, now: Any = None
) -> StallWatch:
    watch = StallWatch(found, "mine", jobs, limit, clock=now or Now())
    watch.workers = workers
    return watch


def looked(
    found: Found, caplog: pytest.LogCaptureFixture, watch: StallWatch | None = None
) -> list[str]:
    caplog.clear()
    caplog.set_level(logging.INFO)
    leases: Any = found
    (watch or StallWatch(leases, "mine", JOBS)).look()
    return [record.getMessage() for record in caplog.records]


def test_a_stall_is_said_with_what_is_usual(caplog: pytest.LogCaptureFixture) -> None:
    assert looked(Found((OWNER, 720.0)), caplog) == [
        "  CNN alone, seed 2, epoch 3 of 9: no progress for 12 min (usually 40 s an epoch); "
        "process 4242 on node7"
    ]
    assert looked(Found((OWNER, 599.0)), caplog) == []
    assert looked(Found((replace(OWNER, stage="refine"), 720.0)), caplog) == []
    of_shard = replace(OWNER, stage="shard", key="a-tune-0-8", note="refinement: tune 0 8")
    work = replace(OWNER, stage="refine", token="t2")
    assert looked(Found((of_shard, 720.0), (work, 0.0)), caplog) == [
        "  CNN alone, seed 2, refinement: tune 0 8: no progress for 12 min "
        "(usually 40 s an epoch); process 4242 on node7"
    ]


def test_it_is_said_again_when_the_time_has_doubled_and_after_progress(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found: Any = Found()
    watch = StallWatch(found, "mine", JOBS)
    said = []
    for idle in (700.0, 720.0, 1399.0, 1401.0, 5.0, 601.0):
        found.owned = [(OWNER, idle)]
        said.append(len(looked(found, caplog, watch)))
    assert said == [1, 0, 0, 1, 0, 1]


def test_nobody_is_ended_without_a_limit_and_beyond_it_each_worker_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found, workers = Found((OWNER, 1e6)), Workers()
    watching(found, workers).look()
    assert workers.ended == []
    watch = watching(found, workers, jobs={}, limit=1800.0)
    for idle, token in ((1799.0, "t1"), (1801.0, "t1"), (1850.0, "t1"), (1801.0, "t2")):
        found.owned = [(replace(OWNER, token=token), idle)]
        said = looked(found, caplog, watch)
    assert workers.ended == ["t1", "t2"]
    assert said == [
        "  training run a: no progress for 30 min; its worker is ended, as the limit is 30 min"
    ]


def looks_for(seconds: float, watch: StallWatch, now: Now) -> None:
    end = now.seconds + seconds
    while now.seconds < end:
        now.seconds += 10
        watch.look()


@pytest.mark.parametrize("finished", [True, False])
def test_a_worker_that_hangs_is_ended_once_another_driver_has_its_training_run(
    finished: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found, workers, now = Found((OWNER, 0.0)), Workers(), Now()
    watch = watching(found, workers, now=now)
    workers.at_work = {"a": 0.0}
    looks_for(200, watch, now)
    # Its lease is another's now, or was, and all is made; a sound worker would end by itself.
    found.owned = []
    if finished:
        workers.finished = {"a"}
    else:
        found.others = [replace(OWNER, run="another", token="t2")]
    looks_for(80, watch, now)
    assert workers.ended == []
    looks_for(100, watch, now)
    assert (workers.ended, workers.given_up) == (["t1"], ["a"])
    assert [record.getMessage() for record in caplog.records] == [
        "  CNN alone, seed 2: another driver has taken it over; its worker here is ended"
    ]


def test_a_worker_that_hangs_before_it_takes_its_lease_is_named_and_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers, now = Workers(), Now()
    watch = watching(Found(), workers, limit=900.0, now=now)
    workers.at_work = {"a": 0.0}
    looks_for(890, watch, now)
    assert workers.ended == []
    looks_for(30, watch, now)
    assert len(workers.ended) == 1
    assert workers.given_up == []
    assert [record.getMessage() for record in caplog.records] == [
        "  CNN alone, seed 2, not begun: no progress for 10 min",
        "  CNN alone, seed 2: no progress for 15 min; its worker is ended, as the limit is 15 min",
    ]


def test_a_task_of_refinement_that_hangs_is_ended_beyond_the_limit_or_if_its_work_was_taken_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shard = replace(OWNER, stage="shard", key="a-tune-0-8", note="refinement: tune 0 8")
    work = replace(OWNER, stage="refine", token="work")
    found, workers = Found((shard, 700.0), (work, 0.0)), Workers()
    watch = watching(found, workers)
    watch.look()
    assert (watch.stalled, workers.ended) == ({"a"}, [])
    found.owned = [(shard, 0.0), (work, 0.0)]
    watch.look()
    assert watch.stalled == frozenset()
    found.owned = [(shard, 700.0)]  # another driver leases the work
    watch.look()
    assert workers.ended == ["t1"]
    found.owned = [(replace(shard, token="t3"), 901.0), (work, 0.0)]
    watching(found, workers, limit=900.0).look()
    assert workers.ended == ["t1", "t3"]


def test_nobody_is_judged_by_what_this_process_missed_while_it_stood_still() -> None:
    found, workers, now = Found((OWNER, 1e6)), Workers(), Now()
    watch = watching(found, workers, limit=1800.0, now=now)
    now.seconds += 3600
    watch.look()
    assert workers.ended == []
    now.seconds += 10
    watch.look()
    assert workers.ended == ["t1"]


def test_a_job_that_joins_its_plan_later_is_named(caplog: pytest.LogCaptureFixture) -> None:
    segment: Any = SimpleNamespace(key="s", named="segmenter ours, seed 0")
    nothing: Any = None
    plan = Plan(nothing, {}, nothing, segments=(segment,))
    found: Any = Found((OWNER, 720.0), (replace(OWNER, stage="segment", key="s", token="s"), 720.0))

    jobs = plan.all_jobs
    watch = StallWatch(found, "mine", jobs)

    def named() -> list[str]:
        return [line.split(",")[0].strip() for line in looked(found, caplog, watch)]

    assert named() == ["training run a", "segmenter ours"]
    plan.jobs["a"] = JOBS["a"]  # as a new round of `decide` does, and a search
    found.owned = [(owner, 2 * idle + 1) for owner, idle in found.owned]
    assert named() == ["CNN alone", "segmenter ours"]
    assert list(jobs) == ["a", "s"]
