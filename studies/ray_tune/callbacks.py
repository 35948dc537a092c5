"""A `Scheduler` as Ray Tune's searcher, callback and stopper.

Tune knows grids and samplers, but no order between trials and no retries by cause. So each start of
a job is a trial of Tune's own, and the scheduler decides what the trial's end means.
"""

import contextlib
import time
from pathlib import Path
from typing import Any, Protocol

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from studies.ray_tune.job_store import JobStore
from studies.ray_tune.refinement import RefinementTasks
from studies.scheduling.schedule import Scheduler
from studies.scheduling.stopping import Stop
from studies.stages import JobStatus, Outcome
from wsss_core.errors import InputError

NODE_IS_GONE = ("node has died", "node is dead", "node was terminated", "preempted", "unavailable")
"""How Ray says, in the text of the error alone, that it is a node that took a worker with it."""

COLLECT_S = 0.2
"""Seconds between two looks at refinement tasks: for so long a core may stand idle after one."""

GPU_QUARANTINED = "gpu_quarantined"
"""What a worker reports whose GPU has failed: it waits, so that no other job is given the GPU."""

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

    def __init__(self, schedule: Scheduler, job_store: JobStore) -> None:
        super().__init__(metric="ended", mode="max")
        self._schedule, self._job_store = schedule, job_store
        self._left = JOBS_A_TUNE

    def suggest(self, trial_id: str) -> Any:
        """Return the next job, None while none can be started, FINISHED once none runs either."""
        job = self._schedule.next() if self._left else None
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


class StopCallback(_NotPickled, tune.Callback):
    """Ends the workers of a Tune that stops, which would wait ten seconds for each.

    Nothing is lost: a training goes on from its last epoch.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._workers: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Note the worker, of which Tune knows no more once it has stopped its trial."""
        self._workers[trial.trial_id] = trial.temporary_state.ray_actor

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget the worker, which is free."""
        self._workers.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget the worker, which is dead."""
        self._workers.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """End the workers once Tune has stopped their trials because it was asked to."""
        if self._stop.asked and all(trial.is_finished() for trial in trials):
            while self._workers:
                ray.kill(self._workers.popitem()[1])


class QuarantinedGpus:
    """The trials of Tune whose workers keep others from a GPU that has failed.

    Args:
        at_once: how many run at a time where no GPU has failed.

    """

    def __init__(self, at_once: int) -> None:
        self._at_once, self._trials = at_once, set[str]()

    def __contains__(self, trial_id: str) -> bool:
        return trial_id in self._trials

    def add(self, trial_id: str) -> None:
        """Count a trial that has met a failed GPU."""
        self._trials.add(trial_id)

    def require_one_left(self, last: str | None) -> None:
        """Raise InputError if no GPU is left for a trial.

        Args:
            last: what is wrong with the last GPU.

        """
        if len(self._trials) >= self._at_once:
            raise InputError(f"no GPU is left that can be used; the last: {last}")

    def lost(self, trial_id: str) -> bool:
        """Forget a trial whose worker died; return whether it kept others from a GPU."""
        was = trial_id in self._trials
        self._trials.discard(trial_id)
        return was


class ScheduleCallback(_NotPickled, tune.Callback):
    """Tells a schedule how Tune's trials end, and its refinement to go on.

    Tune takes an error in here for one of the trial, whose worker it then ends; it is kept as the
    driver's (`Stop.fault`) and ends the run.
    """

    def __init__(
        self, schedule: Scheduler, refinement: RefinementTasks, stop: Stop, at_once: int
    ) -> None:
        self._schedule, self._refinement, self._stop = schedule, refinement, stop
        self._quarantined = QuarantinedGpus(at_once)
        self._next_look = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Collect refinement tasks now and then, as Tune's loop goes round."""
        if time.monotonic() >= self._next_look:
            waits = self._schedule.waiting or any(t.status == Trial.PENDING for t in trials)
            self._refinement.collect(alone=not waits)
            self._next_look = time.monotonic() + COLLECT_S

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Take a job back whose worker stays, to keep others from its failed GPU."""
        outcome: Outcome | None = result.get("outcome")
        if outcome is None or outcome.status is not JobStatus.GPU_FAILED:
            return
        self._quarantined.add(trial.trial_id)
        with self._stop.keeping_faults():
            self._schedule.came_back(trial.config["job"].key, outcome)
            self._quarantined.require_one_left(outcome.error)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Take a job that came back."""
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
        if self._quarantined.lost(trial.trial_id):
            return
        lost = is_node_loss(error_of(trial))
        with self._stop.keeping_faults():
            self._schedule.died(trial.config["job"].key, node_lost=lost)


class _Ends(Protocol):
    """A searcher that says when nothing runs any more and nothing is left to start."""

    at_end: bool


class StopWhenAsked(Stopper):
    """Stops all of Tune's trials once a run has been asked to end.

    Workers that quarantine a GPU are stopped too once no job is left that could get it.
    """

    def __init__(self, stop: Stop, searcher: _Ends) -> None:
        self._stop, self._searcher = stop, searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a quarantined worker can end, as nothing is left to start."""
        return self._searcher.at_end and bool(result.get(GPU_QUARANTINED))

    def stop_all(self) -> bool:
        """Return whether the run has been asked to end."""
        return self._stop.asked


def is_node_loss(error: str) -> bool:
    """Return whether a worker died because its node died or cannot be reached any more."""
    return any(text in error for text in NODE_IS_GONE)


def error_of(trial: Any) -> str:
    """Return the error that ended a trial of Tune's, from the file where Tune keeps it, or ""."""
    with contextlib.suppress(OSError, TypeError):
        return Path(trial.error_file).read_text()
    return ""
