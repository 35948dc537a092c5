"""Jobs where workers find them, and the little of each that Tune gets.

Tune keeps the configuration of each trial in several copies for as long as it runs. So it is given
a label, and the job lies in Ray's object store, outside the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import ray

from studies.planning.capacity import Request
from studies.planning.job import TrainingJob

ON_A_SHELF = 32
"""Jobs in one object: a worker reads a shelf to have one of them, some 100 KiB."""


@dataclass(frozen=True)
class JobLabel:
    """What Tune has to know of a job.

    Attributes:
        key: the job's.
        request: what it asks of Ray, see `studies.spec.resources.Demand.asks`.
        shelf: the number of the object that holds it.
        place: its place in there.

    """

    key: str
    request: Request
    shelf: int
    place: int


class JobStore:
    """Jobs in Ray's object store, for as long as this object is there.

    Args:
        jobs: the jobs that may have to run, in any order.
        requests: a job's key -> what it asks of Ray.

    Attributes:
        shelves: for `job_of`, in a worker.

    """

    def __init__(self, jobs: Sequence[TrainingJob], requests: Mapping[str, Request]) -> None:
        self._labels = {
            job.key: JobLabel(job.key, requests[job.key], *divmod(number, ON_A_SHELF))
            for number, job in enumerate(jobs)
        }
        self.shelves = [
            ray.put(list(jobs[start : start + ON_A_SHELF]))
            for start in range(0, len(jobs), ON_A_SHELF)
        ]

    def label(self, job: TrainingJob) -> JobLabel:
        """Return what Tune has to know of a job."""
        return self._labels[job.key]


def job_of(label: JobLabel, shelves: Sequence[Any]) -> TrainingJob:
    """Return the job of a label, in a worker."""
    job: TrainingJob = ray.get(shelves[label.shelf])[label.place]
    return job
