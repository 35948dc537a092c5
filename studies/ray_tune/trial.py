"""A trial of Ray Tune inside its worker: one job, and what comes of a GPU that has failed.

A worker stays from trial to trial. Without a GPU it runs them itself. With one it runs each in a
process of its own, see `studies.scheduling.warm_process`, and touches no GPU itself; so it does not
even import PyTorch.
"""

import time
from functools import cache
from typing import Any, NoReturn

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
from ray import tune

from studies.ray_tune.job_store import JobLabel, job_of
from studies.scheduling.warm_process import AVAILABLE, WarmProcess
from studies.stages import JobStatus, Outcome, RunContext, return_freed_memory

OWN_PROCESS = AVAILABLE
"""Whether a trial on a GPU has a process of its own beside its worker, which then stays."""

WORK = "studies.stages:run_with_share"
"""What that process does."""

QUARANTINE_S = 5.0
"""Seconds between two signs of life of a worker that keeps others from a GPU that has failed."""

GPU_QUARANTINED = "gpu_quarantined"
"""What a worker reports whose GPU has failed: it waits, so that no other job is given the GPU."""


def run_trial(config: dict[str, Any], context: RunContext, shelves: list[Any]) -> None:
    """Run one job inside a worker of Ray Tune, and report its outcome."""
    label: JobLabel = config["job"]
    if OWN_PROCESS and label.request.get("GPU"):
        warm = _warm_process()  # it imports while the job is fetched
        outcome: Outcome = warm.run(WORK, job_of(label, shelves), context, label.request)
    else:
        from studies.stages import run_with_share

        outcome = run_with_share(job_of(label, shelves), context, label.request)
        return_freed_memory()
    if outcome.status is JobStatus.GPU_FAILED:
        quarantine_gpu(outcome)
    tune.report({"ended": 1, "outcome": outcome})


def quarantine_gpu(outcome: Outcome) -> NoReturn:
    """Report that this worker's GPU has failed, and stay until Tune ends this worker.

    Ray would give the GPU to the next trial, which would end as soon, and so on.
    """
    tune.report({"ended": 1, "outcome": outcome})
    while True:
        time.sleep(QUARANTINE_S)
        tune.report({"ended": 0, GPU_QUARANTINED: True})


@cache
def _warm_process() -> WarmProcess:
    """Return this worker's warmed process, which sees the GPUs that the worker was given."""
    return WarmProcess()
