"""A plan's jobs one after another in this process, without Ray: for a debugger."""

import contextlib
import logging

from reports.storage import StorageError
from studies.planning import CancelledInRun, Job, Plan, TrainingJob
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import OnEnd, Scheduler
from studies.scheduling.stall_watch import StallWatch
from studies.scheduling.stopping import Stop
from studies.stages import (
    JobStatus,
    Outcome,
    RunContext,
    WorkerShare,
    device_name,
    finished_job,
    keep_freed_memory,
    make_all_image_features,
    refine_job,
    run_job,
    shards_of,
)
from studies.store import JOB_STAGES, ArtifactStore, Leases
from wsss_core.errors import InputError
from wsss_core.progress import hearing_progress

logger = logging.getLogger(__name__)


def run_in_process(
    plan: Plan,
    pending: list[Job],
    context: RunContext,
    progress: Progress,
    stop: Stop,
    on_end: OnEnd | None = None,
) -> dict[str, Outcome]:
    """Run jobs here, and wait for those that other drivers run.

    Args:
        plan: the jobs' plan.
        pending: the jobs that have to run.
        context: their run.
        progress: told of each job's end.
        stop: ends the run when it is asked; a signal breaks off the job that runs.
        on_end: see `Scheduler.on_end`.

    Returns:
        The outcomes of the jobs that ended, by key; see `Scheduler.outcomes`.

    Raises:
        InputError: this process's GPU cannot be used.

    """
    keep_freed_memory()
    store = ArtifactStore(context.store)
    share = WorkerShare(_device(pending))
    schedule = Scheduler(
        plan,
        pending,
        store,
        progress,
        stop,
        lambda job: finished_job(job, context, store),
        context.run_id,
    )
    schedule.cancelled = CancelledInRun(plan, context.results)
    refinement = _Refinement(plan, context, store, progress)
    schedule.on_ok = refinement.add
    schedule.on_end = on_end or schedule.on_end
    try:
        watch = StallWatch(
            Leases(store.folder), context.run_id, plan.all_jobs, stages=(*JOB_STAGES, "refine")
        )
        with stop.listening(at_once=True), watch.watching():
            logger.info("one after another in this process, on %s", device_name(share.device))
            make_all_image_features(plan, store, share.device)
            while not (schedule.all_ended and not refinement.left) and not stop.asked:
                job = schedule.next()
                if job is not None:
                    outcome = run_job(job, context, share)
                    if outcome.status is JobStatus.GPU_FAILED:
                        raise InputError(str(outcome.error))  # of all jobs in this process
                    schedule.came_back(job.key, outcome)
                if not refinement.some() and job is None:
                    schedule.wait()
    except StorageError as away:
        stop.without_storage(away)
    except KeyboardInterrupt:
        if not stop.asked:
            raise
    finally:
        with contextlib.suppress(OSError, StorageError):
            store.leases.drop_run(context.run_id)
    return schedule.outcomes


def _device(pending: list[Job]) -> str:
    """Return a GPU where there is one and some job would ask Ray for it."""
    import torch

    asks = any("GPU" in job.resources.asks(whole_gpu=1.0) for job in pending)
    return "cuda" if asks and torch.cuda.is_available() else "cpu"


class _Refinement:
    """The jobs whose chains have to run; `left` are those whose chains have not."""

    def __init__(
        self, plan: Plan, context: RunContext, store: ArtifactStore, progress: Progress
    ) -> None:
        self.left: list[tuple[TrainingJob, Outcome]] = []
        self._context, self._store, self._progress = context, store, progress
        self._bounds = shards_of(plan, store) if context.chains else {}

    def add(self, job: Job, outcome: Outcome) -> None:
        """Take a job that has been trained and scored."""
        if isinstance(job, TrainingJob):
            self.left.append((job, outcome))

    def some(self) -> bool:
        """Refine the jobs that no other driver refines; return whether there were any."""
        before, self.left[:] = list(self.left), []
        for job, outcome in before:
            if not (self._context.chains and job.is_refined):
                continue
            lease = self._store.leases.take("refine", job.key, run=self._context.run_id)
            if lease is None:
                self.left.append((job, outcome))
                continue
            lease.progress()
            with lease, hearing_progress(lease.progress):
                failed = refine_job(
                    job, self._context, self._store, self._bounds, outcome.unprepared
                )
            self._progress.refined(job, failed)
        return len(self.left) < len(before)
