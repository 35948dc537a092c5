"""Which training run is next, and what its end means for the others. Nothing here knows Ray.

A student is not started before its teacher's run has ended. A job that another driver's worker runs
is left to it: nobody waits while holding a GPU. Once one job is leased elsewhere, leases and
finished artifacts are listed now and then: what is done is not run again, and what a dead owner
left is taken over.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from reports.storage import StorageError
from studies.planning import Cancellations, Job, Plan
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.stages import JobStatus, Outcome
from studies.store import JOB_STAGES, SCRATCH, ArtifactStore, CorruptArtifactError

logger = logging.getLogger(__name__)

JOB_RETRIES = 2
"""Retries of a job whose worker died without having come further, whose inputs were corrupt, or
that met failed GPUs. An exception inside a job is a result and is not tried again."""

OTHER_DRIVERS_S = 5.0
"""Seconds between two looks at what other drivers do; more where a look itself takes long."""

NEVER = float("inf")

OnEnd = Callable[[Job, Outcome], Iterable[Job]]
"""Takes a job that has ended and its outcome; returns jobs that are to run because of it."""


class Scheduler:
    """The jobs that have to run, in their order, and how they ended.

    Teachers come first, then the rest in the plan's order.

    Args:
        plan: the jobs' plan.
        jobs: the jobs that have to run. A teacher that is not among them is taken as trained.
        store: holds artifacts and leases.
        progress: learns of each job's end.
        stop: says when to start no more; learns when the storage is away.
        finished: brings a job that others have finished to the ledger; returns its outcome.
        run: this driver's run, see `studies.store.leases.LeaseOwner`.
        look_every: see `OTHER_DRIVERS_S`.

    Attributes:
        outcomes: the outcomes of the jobs that ended, by key.
        on_ok: is called with each job that ended well, and its outcome.
        on_end: is called with each job that ended; returns jobs that are to run because of it.
        cancelled: the rows that were cancelled meanwhile; None: none is.

    """

    def __init__(
        self,
        plan: Plan,
        jobs: Sequence[Job],
        store: ArtifactStore,
        progress: Progress,
        stop: Stop,
        finished: Callable[[Job], Outcome],
        run: str = "",
        look_every: float = OTHER_DRIVERS_S,
    ) -> None:
        awaited = {key for job in jobs for key in job.needs}
        self.outcomes: dict[str, Outcome] = {}
        self.on_ok: Callable[[Job, Outcome], None] = lambda job, outcome: None
        self.on_end: OnEnd = lambda job, outcome: ()
        self.on_stop: Callable[[Job, Outcome | None], None] = lambda job, outcome: None
        self.cancelled: Cancellations | None = None
        self._plan, self._store, self._progress = plan, store, progress
        self._stop, self._finished, self._run = stop, finished, run
        self._waiting = sorted(jobs, key=lambda job: job.key not in awaited)
        self._running: dict[str, Job] = {}
        self._not_ended = {job.key for job in jobs}
        self._leased_elsewhere: set[str] = set()
        self._given_up: set[str] = set()
        self._retries: dict[str, int] = {}
        self._progress_then: dict[str, object] = {}
        self._look_every, self._next_look = look_every, 0.0

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many jobs wait to be started."""
        return len(self._waiting)

    @property
    def all_ended(self) -> bool:
        """Whether every job has ended."""
        return not self._not_ended

    @property
    def can_start(self) -> bool:
        """Whether `next` would return a job."""
        self.look()
        return not self._stop.asked and self._place() is not None

    def next(self) -> Job | None:
        """Return a job that can be started now, or None."""
        if not self.can_start or (place := self._place()) is None:
            return None
        job = self._waiting.pop(place)
        self._given_up.discard(job.key)
        self._running[job.key] = job
        return job

    def _place(self) -> int | None:
        for place, job in enumerate(self._waiting):
            if job.key in self._leased_elsewhere:
                continue
            if self._not_ended.isdisjoint(job.needs):
                return place
        return None

    def came_back(self, key: str, outcome: Outcome) -> None:
        """Take the outcome of a job that `next` returned, see `studies.stages.job.run_job`."""
        job = self._running.pop(key, None)
        if job is None:
            return
        self.on_stop(job, outcome)
        match outcome.status:
            case JobStatus.LEASED_ELSEWHERE:
                self._leased_elsewhere.add(key)
                self._waiting.insert(0, job)
                if self._next_look == NEVER:
                    self._next_look = 0.0
            case JobStatus.STORAGE_DOWN:
                self._stop.without_storage(outcome.error)
                self._waiting.insert(0, job)
            case JobStatus.INPUT_CORRUPT:
                self._make_again(job, str(outcome.error))
            case JobStatus.GPU_FAILED:
                met = f"met {JOB_RETRIES + 1} GPUs that cannot be used; the last: {outcome.error}"
                self._retry(job, JobStatus.GPU_FAILED, str(outcome.error), failed=met)
            case _:
                self._end(job, outcome)

    def is_finished(self, key: str) -> bool:
        """Return whether the store holds all that a running job is to make."""
        job = self._running.get(key)
        return job is not None and job.is_finished(self._store.has)

    def give_up(self, key: str) -> None:
        """Leave a running job to the driver that has its lease, once its worker has died."""
        self._given_up.add(key)

    def died(self, key: str, *, node_lost: bool) -> None:
        """Take the death of a job's worker: retry the job, but not for ever without progress."""
        if key in self._given_up:
            self.came_back(key, Outcome(JobStatus.LEASED_ELSEWHERE))
            return
        job = self._running.pop(key, None)
        if job is None:
            return
        self.on_stop(job, None)
        named = job.named
        if node_lost:
            self._put_back(job, f"{named}: its node was lost; it is started again")
            return
        said = f"{named}: its worker process died; it is started again"
        failed = f"its worker process died {JOB_RETRIES + 1} times without coming further"
        self._retry(job, self._progress_of(job), said, failed=failed)

    def look(self) -> None:
        """Look now and then which waiting jobs other drivers run or have finished.

        Jobs whose rows were cancelled end here too.
        """
        self._end_cancelled()
        if not self._waiting or time.monotonic() < self._next_look:
            return
        began = time.monotonic()
        try:
            self._look()
        except StorageError as away:
            self._stop.without_storage(away)
        if not self._leased_elsewhere and self._next_look == 0.0:
            self._next_look = NEVER  # until a job is leased elsewhere
            return
        took = time.monotonic() - began
        self._next_look = time.monotonic() + max(self._look_every, 20 * took)

    def _end_cancelled(self) -> None:
        """End the waiting jobs whose rows were cancelled; workers end those that run."""
        if self.cancelled is None or not self._waiting:
            return
        try:
            ending = self.cancelled.ending(self._waiting)
        except StorageError as away:
            self._stop.without_storage(away)
            return
        for job in ending:
            self._waiting.remove(job)
            self._leased_elsewhere.discard(job.key)
            self._end(job, Outcome(JobStatus.CANCELLED, "its row was cancelled"))

    def wait(self) -> None:
        """Sleep until the next look, as the driver has nothing to do meanwhile."""
        left = self._next_look - time.monotonic()
        self._stop.sleep(left if left < NEVER else self._look_every)

    def _look(self) -> None:
        leases = self._store.leases
        held = {
            owner.key
            for owner in leases.owners()
            if owner.stage in JOB_STAGES and owner.run != self._run
        }
        if not (held or self._leased_elsewhere):
            return
        has = self._store.seen()
        for job in list(self._waiting):
            if job.key in held:
                self._leased_elsewhere.add(job.key)
            elif job.is_finished(has):
                with contextlib.suppress(CorruptArtifactError):  # then it is run again
                    outcome = self._finished(job)
                    self._waiting.remove(job)
                    self._end(job, outcome, refine=False)
                self._leased_elsewhere.discard(job.key)
            elif job.key in self._leased_elsewhere and (lease := leases.take(job.stage, job.key)):
                # A worker that has not seen the dead owner's heart stand still could not take it.
                lease.release()
                self._leased_elsewhere.discard(job.key)

    def _end(self, job: Job, outcome: Outcome, *, refine: bool = True) -> None:
        self._not_ended.discard(job.key)
        self.outcomes[job.key] = outcome
        self._progress.ended(job, outcome)
        if outcome.status is JobStatus.OK and refine:
            self.on_ok(job, outcome)
        for following in self.on_end(job, outcome):
            self._add(following)

    def _fail(self, job: Job, error: str) -> None:
        outcome = Outcome(JobStatus.FAILED, error, unrecorded=True)
        with contextlib.suppress(StorageError):  # the run's end looks again
            if job.is_finished(self._store.has):  # by another driver meanwhile
                outcome = self._finished(job)
        self._end(job, outcome)

    def _make_again(self, job: Job, error: str) -> None:
        """Put a job back and what it builds upon before it."""
        if not self._retry(job, JobStatus.INPUT_CORRUPT, error, failed=error):
            return
        try:
            self._plan.decode(job, self._store)
            for needed in map(self._plan.jobs.get, job.needs):
                if needed is not None and not self._store.has("train", needed.key):
                    self._add(needed)
        except StorageError as away:
            self._stop.without_storage(away)

    def _add(self, job: Job) -> None:
        if job.key in self._not_ended:
            return
        for needed in job.needs:
            if not self._store.has("train", needed):
                self._add(self._plan.jobs[needed])
        self._not_ended.add(job.key)
        self._waiting.insert(0, job)
        self._progress.more(job)

    def _put_back(self, job: Job, said: str) -> None:
        logger.warning("  %s", said)
        self._waiting.insert(0, job)

    def _retry(self, job: Job, progress: object, said: str, *, failed: str) -> bool:
        """Put a job back, or end it after too many retries without progress.

        Args:
            job: the job, which does not run any more.
            progress: differs from that of the last retry if the job has come further.
            said: why it is put back.
            failed: its error if it is not.

        Returns:
            Whether it was put back.

        """
        if self._progress_then.get(job.key) != progress:
            self._progress_then[job.key] = progress
            self._retries[job.key] = 0
        self._retries[job.key] += 1
        if self._retries[job.key] > JOB_RETRIES:
            self._fail(job, failed)
            return False
        self._put_back(job, said)
        return True

    def _progress_of(self, job: Job) -> object:
        """Return what changes with a job's progress: its checkpoint and what it has finished."""
        try:
            kept = self._store.folder.joined(SCRATCH, f"{job.stage}-{job.key}").listing()
            unscored = len(job.unscored(self._store.has))
            return str(kept), self._store.has(job.stage, job.key), unscored
        except StorageError as away:
            self._stop.without_storage(away)
            return None
