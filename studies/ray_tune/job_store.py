"""Jobs as Ray Tune gets them: a label each, and the jobs in Ray's object store.

Tune keeps the configuration of each trial in several copies for as long as it runs. So it is given
a label, and the job lies outside the driver.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import ray

from studies.planning import Job, Request

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
        job: the job itself, where it was not known when the store was made (in a search).

    """

    key: str
    request: Request
    shelf: int = 0
    place: int = 0
    job: Job | None = None


class JobStore:
    """Jobs in Ray's object store, for as long as this object is there.

    Args:
        jobs: the jobs that are known to have to run, in any order.
        request: says what a job that starts now asks of Ray.

    Attributes:
        shelves: for `job_of`, in a worker.

    """

    def __init__(self, jobs: Sequence[Job], request: Callable[[Job], Request]) -> None:
        self._request = request
        self._places = {job.key: divmod(n, ON_A_SHELF) for n, job in enumerate(jobs)}
        self.shelves = [
            ray.put(list(jobs[start : start + ON_A_SHELF]))
            for start in range(0, len(jobs), ON_A_SHELF)
        ]

    def label(self, job: Job) -> JobLabel:
        """Return what Tune has to know of a job."""
        request = self._request(job)
        if job.key in self._places:
            return JobLabel(job.key, request, *self._places[job.key])
        return JobLabel(job.key, request, job=job)


def job_of(label: JobLabel, shelves: Sequence[Any]) -> Job:
    """Return the job of a label, in a worker."""
    if label.job is not None:
        return label.job
    job: Job = ray.get(shelves[label.shelf])[label.place]
    return job
