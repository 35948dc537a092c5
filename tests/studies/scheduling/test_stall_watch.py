"""Training runs that stand still: what the driver says, and when it ends a worker."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from studies.scheduling.stall_watch import StallWatch
from studies.store.lease_owner import LeaseOwner

OWNER = LeaseOwner(
    "train", "a", "t1", "node7", 4242, "", "2026-01-01T12:00:00+00:00",
    note="epoch 3 of 9", stalled_after=600.0, epoch_seconds=40.0,
)  # fmt: skip
JOBS: Any = {"a": SimpleNamespace(name="CNN alone", seed=2)}


class Found:
    """Stands in for the leases of a store: the owners of the run, and their idle times."""

    def __init__(self, *owners: tuple[LeaseOwner, float]) -> None:
        self.owners = list(owners)

    def of_run(self, run: str) -> list[tuple[LeaseOwner, float]]:
        assert run == "mine"
        return self.owners


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


def test_it_is_said_again_when_the_time_has_doubled_and_after_progress(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found: Any = Found()
    watch = StallWatch(found, "mine", JOBS)
    said = []
    for idle in (700.0, 720.0, 1399.0, 1401.0, 5.0, 601.0):
        found.owners = [(OWNER, idle)]
        said.append(len(looked(found, caplog, watch)))
    assert said == [1, 0, 0, 1, 0, 1]


def test_nobody_is_ended_without_a_limit_and_beyond_it_each_worker_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []
    found: Any = Found((OWNER, 1e6))
    StallWatch(found, "mine", JOBS, None, lambda owner: ended.append(owner.token)).look()
    assert ended == []
    watch = StallWatch(found, "mine", {}, 1800.0, lambda owner: ended.append(owner.token))
    for idle, token in ((1799.0, "t1"), (1801.0, "t1"), (1850.0, "t1"), (1801.0, "t2")):
        found.owners = [(replace(OWNER, token=token), idle)]
        said = looked(found, caplog, watch)
    assert ended == ["t1", "t2"]
    assert said == [
        "  training run a: no progress for 30 min; its worker is ended, as the limit is 30 min"
    ]
