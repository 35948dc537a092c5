"""A `Scheduler` as Ray Tune's searcher, callback and stopper.

Tune knows grids and samplers, but no order between trials and no retries by cause. So each start of
a job is a trial of Tune's own, and the scheduler decides what the trial's end means.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from studies.planning import NodeAmounts, slots
from studies.ray_tune.job_store import JobStore
from studies.ray_tune.killing import kill_actor, kill_owner
from studies.ray_tune.refinement import RefinementTasks
from studies.ray_tune.trial import GPU_QUARANTINED
from studies.scheduling.gpu_packing import GpuPacking
from studies.scheduling.schedule import Scheduler
from studies.scheduling.stopping import Stop
from studies.stages import JobStatus, Outcome
from studies.store import JOB_STAGES, LeaseOwner
from wsss_core.errors import InputError

NODE_IS_GONE = ("node has died", "node is dead", "node was terminated", "preempted", "unavailable")
"""How Ray says, in the text of the error alone, that it is a node that took a worker with it."""

COLLECT_S = 0.2
"""Seconds between two looks at refinement tasks: for so long a core may stand idle after one."""

JOBS_A_TUNE = 10_000
"""After so many jobs Tune is ended and started again. It forgets no trial while it runs, which is
30 KiB of the driver's memory each; what it costs is one wait for the jobs that still run."""


class _NotPickled:
    """Pickles as an empty shell: Tune writes its callbacks to a file that nobody reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PlanSearcher(_NotPickled, Searcher):
    """Suggests each job once its teacher's has ended and while no other driver runs it.

    Where nothing runs and nothing can be started, and after `JOBS_A_TUNE`, it is at its end: Tune
    ends and frees its resources, and the runner waits and starts another Tune.
    """

    at_end = False

    def __init__(self, schedule: Scheduler, job_store: JobStore, packing: GpuPacking) -> None:
        super().__init__(metric="ended", mode="max")
        self._schedule, self._job_store, self._packing = schedule, job_store, packing
        self._left = JOBS_A_TUNE

    def suggest(self, trial_id: str) -> Any:
        """Return the next job, None while none can be started, FINISHED once none runs either."""
        starts = self._left and not self._packing.must_wait
        job = self._schedule.next() if starts else None
        if job is not None:
            self._left -= 1
            return {"job": self._job_store.label(job)}
        if self._schedule.running:
            return None
        self.at_end = True
        return str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: `ScheduleCallback` handles the end, with what was reported."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the store and the ledger say what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class _Worker(NamedTuple):
    """A worker of Ray.

    Attributes:
        actor: it, as Ray knows it.
        key: of the job that it runs.
        began: when the job began, by the monotonic clock.

    """

    actor: Any
    key: str
    began: float


class ScheduleCallback(_NotPickled, tune.Callback):
    """Tells a schedule how Tune's trials end, and its refinement to go on.

    Tune takes an error in here for one of the trial, whose worker it then ends; it is kept as the
    driver's (`Stop.fault`) and ends the run.

    It also ends the workers of a Tune that stops, which would wait ten seconds for each. Nothing is
    lost: a training goes on from its last epoch.

    Args:
        schedule: decides what an end means.
        refinement: goes on meanwhile.
        stop: says whether Tune has been asked to stop; keeps errors.
        nodes: what the cluster's nodes have where no GPU has failed.

    """

    def __init__(
        self,
        schedule: Scheduler,
        refinement: RefinementTasks,
        stop: Stop,
        nodes: Sequence[NodeAmounts],
    ) -> None:
        self._schedule, self._refinement, self._stop = schedule, refinement, stop
        self._nodes, self._next_look = nodes, 0.0
        self._workers: dict[str, _Worker] = {}
        self._quarantined: dict[str, float] = {}
        """The trials of Tune whose workers keep others from a GPU that has failed, and the part of
        the cluster's GPUs that each holds: one of all workers like it that fit there."""

    def working(self) -> dict[str, float]:
        """Return the keys of the jobs at work, and when each began (monotonic clock)."""
        workers = list(self._workers.items())
        return {one.key: one.began for trial, one in workers if trial not in self._quarantined}

    def is_finished(self, key: str) -> bool:
        """Return whether the store holds all that a job at work is to make."""
        return self._schedule.is_finished(key)

    def give_up(self, key: str) -> None:
        """Leave a job at work to the driver that has its lease, once its worker has ended."""
        self._schedule.give_up(key)

    def end_worker(self, owner: LeaseOwner) -> None:
        """End the worker of a job, or of a task, that stands still; Ray then tells of its death."""
        for worker in list(self._workers.values()):
            if owner.stage in JOB_STAGES and worker.key == owner.key:
                kill_actor(worker.actor)
        kill_owner(owner)

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Collect refinement tasks now and then, as Tune's loop goes round."""
        if time.monotonic() >= self._next_look:
            waits = self._schedule.waiting or any(t.status == Trial.PENDING for t in trials)
            self._refinement.collect(alone=not waits)
            self._next_look = time.monotonic() + COLLECT_S

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """End the workers once Tune has stopped their trials because it was asked to."""
        if self._stop.asked and all(trial.is_finished() for trial in trials):
            while self._workers:
                ray.kill(self._workers.popitem()[1].actor)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Note the worker, of which Tune knows no more once it has stopped its trial."""
        actor, key = trial.temporary_state.ray_actor, trial.config["job"].key
        self._workers[trial.trial_id] = _Worker(actor, key, time.monotonic())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Take a job back whose worker stays, to keep others from its failed GPU."""
        outcome: Outcome | None = result.get("outcome")
        if outcome is None or outcome.status is not JobStatus.GPU_FAILED:
            return
        label = trial.config["job"]
        self._quarantined[trial.trial_id] = 1 / max(slots(label.request, self._nodes), 1)
        with self._stop.keeping_faults():
            self._schedule.came_back(label.key, outcome)
            if sum(self._quarantined.values()) > 1 - 1e-6:
                raise InputError(f"no GPU is left that can be used; the last: {outcome.error}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Take a job that came back; its worker is free."""
        self._workers.pop(trial.trial_id, None)
        if trial.trial_id in self._quarantined:
            return
        outcome, key = (trial.last_result or {}).get("outcome"), trial.config["job"].key
        with self._stop.keeping_faults():
            if outcome is not None:
                self._schedule.came_back(key, outcome)
            else:
                self._schedule.died(key, node_lost=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Take the death of a job's worker."""
        self._workers.pop(trial.trial_id, None)
        if trial.trial_id in self._quarantined:
            del self._quarantined[trial.trial_id]
            return
        error = error_of(trial)
        lost = any(text in error for text in NODE_IS_GONE)
        with self._stop.keeping_faults():
            self._schedule.died(trial.config["job"].key, node_lost=lost)


class StopWhenAsked(Stopper):
    """Stops all of Tune's trials once a run has been asked to end.

    Workers that quarantine a GPU are stopped too once no job is left that could get it.
    """

    def __init__(self, stop: Stop, searcher: PlanSearcher) -> None:
        self._stop, self._searcher = stop, searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a quarantined worker can end, as nothing is left to start."""
        return self._searcher.at_end and bool(result.get(GPU_QUARANTINED))

    def stop_all(self) -> bool:
        """Return whether the run has been asked to end."""
        return self._stop.asked


def error_of(trial: Any) -> str:
    """Return the error that ended a trial of Tune's, from the file where Tune keeps it, or ""."""
    with contextlib.suppress(OSError, TypeError):
        return Path(trial.error_file).read_text()
    return ""
