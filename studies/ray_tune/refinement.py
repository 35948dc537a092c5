"""Refinement as plain Ray tasks: they run on whatever CPUs are free while GPUs go on training.

A task takes about a second to minutes, far less than what Tune needs for a trial, so refinement is
no Tune trial. Tasks of a job wait for nobody but the job and the features of its images. The driver
holds a lease for what its tasks make; what another driver's tasks make is looked at later. Each
task holds a lease of its own, which says how far it is: see `studies.scheduling.stall_watch`.

While trials wait for a GPU and its cores, tasks are held back here, see `spare_cores`.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reports.storage import StorageError, open_folder
from studies.planning import SCORED_SPLITS, Job, Plan, TrainingJob
from studies.ray_tune.spare_cores import SpareCores
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import OTHER_DRIVERS_S
from studies.scheduling.stall_watch import StallWatch
from studies.scheduling.stopping import Stop
from studies.stages import (
    FailedChain,
    ImageFeatureTask,
    Outcome,
    RunContext,
    ShardOutcome,
    keep_freed_memory,
    missing_image_features,
    publish,
    refine_shard,
    score_chains,
    shards_of,
    still_missing,
    try_image_features,
    use_share,
)
from studies.store import SHARD_STAGE, ArtifactStore, CorruptArtifactError, Lease, shard_of_work
from wsss_core.errors import one_line
from wsss_core.plugins import search_in
from wsss_core.progress import hearing_progress

logger = logging.getLogger(__name__)

TASK_RETRIES = 10
"""Retries of a task whose worker or node was lost; what it had finished is not made again."""


_Start = Callable[[dict[str, Any]], Any]
"""Starts a task of one core under options of Ray's; returns its reference."""


@dataclass
class _Work:
    """Tasks that belong together under a lease.

    Attributes:
        job: None where features of images are made.
        key: of the lease.
        lease: given back when all have ended.
        todo: those that have not been started.
        started: the references of those that were.
        closing: makes the one that follows when these have ended, from their references.

    """

    job: TrainingJob | None
    key: str
    lease: Lease
    todo: deque[_Start] = field(default_factory=deque)
    started: list[Any] = field(default_factory=list)
    closing: Callable[[list[Any]], _Start] | None = None


class RefinementTasks:
    """The refinement of a study's jobs, started job by job as these are trained.

    Args:
        plan: the study's plan.
        context: its run.
        gpus: share of a GPU that a task gets which makes image features by a large model.
        spare: the cores that the study's trials leave.
        progress: told of each job's end.
        stop: when to start no more; told when the storage is away.
        watch: knows which work makes no progress.

    """

    def __init__(
        self,
        plan: Plan,
        context: RunContext,
        gpus: float,
        spare: SpareCores,
        progress: Progress,
        stop: Stop,
        watch: StallWatch,
    ) -> None:
        self._context, self._gpus, self._spare = context, gpus, spare
        self._progress, self._stop, self._watch = progress, stop, watch
        self._store = store = ArtifactStore(context.store)
        self._works: list[_Work] = []
        self._in_flight: dict[Any, str | None] = {}
        """Tasks that run or wait in Ray's queue, and the nodes whose spare cores they took."""
        self._waiting: deque[tuple[TrainingJob, Outcome]] = deque()
        self._deferred: list[tuple[TrainingJob, Outcome]] = []
        self._next_look = 0.0
        self._feature_tasks: dict[tuple[str, tuple[int, int]], list[Any]] = {}
        """The tasks that make features of a shard of a split, by its fingerprint and bounds."""
        self._features_to_make: dict[str, list[ImageFeatureTask]] = {}
        self._shards = shards_of(plan, store) if context.chains else {}
        # Beyond this, jobs wait here, each under no lease yet.
        self._at_once = max(4, 2 * int(ray.cluster_resources().get("CPU", 1)))
        # On the object store once, not once a task.
        self._shared = ray.put(context)
        for task in missing_image_features(plan, store):
            self._features_to_make.setdefault(task.split_key, []).append(task)
        self._make_image_features()

    def submit(self, job: Job, outcome: Outcome) -> None:
        """Refine a job that has been trained and scored, as soon as there is room."""
        if self._context.chains and isinstance(job, TrainingJob) and job.is_refined:
            self._waiting.append((job, outcome))

    def collect(self, timeout: float = 0.0, *, alone: bool = False) -> None:
        """Report what has ended by now, or within `timeout` seconds, and start what can be.

        Args:
            timeout: to wait for an end if there is none.
            alone: whether no trial waits for cores.

        """
        for work in self._works:
            # This driver goes on, and Ray starts tasks that are lost again. It does not vouch for
            # those that hang.
            if work.key not in self._watch.stalled:
                work.lease.progress()
        if self._in_flight:
            flying = list(self._in_flight)
            many = 1 if timeout else len(flying)
            for task in ray.wait(flying, num_returns=many, timeout=timeout)[0]:
                if (node := self._in_flight.pop(task)) is not None:
                    self._spare.give_back(node)
            self._close()
        elif timeout:
            self._stop.sleep(timeout)
        if self._stop.asked:
            return
        try:
            self._begin()
        except StorageError as away:
            self._stop.without_storage(away)
        self._start(alone=alone)

    def finish(self) -> None:
        """Wait for all that was submitted, or until the run is asked to end; no trial is left."""
        self.collect(alone=True)
        while (self._works or self._left) and not self._stop.asked:
            self.collect(timeout=1.0, alone=True)

    def cancel(self) -> None:
        """Drop what has not ended; a later run goes on with it."""
        for task in self._in_flight:
            ray.cancel(task, force=True)
        for work in self._works:
            work.lease.release()
        for held in (
            self._works,
            self._in_flight,
            self._waiting,
            self._deferred,
            self._features_to_make,
        ):
            held.clear()

    @property
    def _left(self) -> bool:
        """Whether a job or features of images have not been begun."""
        return bool(self._waiting or self._deferred or self._features_to_make)

    def _close(self) -> None:
        """Go on with works whose tasks have ended, and report those that have none left."""
        for work in list(self._works):
            if work.todo or any(task in self._in_flight for task in work.started):
                continue
            if work.closing is not None:
                work.todo.append(work.closing(work.started))
                work.closing = None
                continue
            self._works.remove(work)
            self._report(work)
            work.lease.release()

    def _start(self, *, alone: bool) -> None:
        """Start tasks in their order: all of them, or as many as there are spare cores."""
        limited = self._spare.counted and not alone
        for work in self._works:
            while work.todo:
                node = self._spare.take() if limited else None
                if limited and node is None:
                    return
                # If the node is lost, another takes the task.
                near = node and NodeAffinitySchedulingStrategy(node, soft=True)
                task = work.todo.popleft()({"scheduling_strategy": near} if near else {})
                work.started.append(task)
                self._in_flight[task] = node

    def _begin(self) -> None:
        """Begin jobs while there is room; retry those leased elsewhere now and then."""
        if not self._left:
            return
        if time.monotonic() >= self._next_look:
            self._make_image_features()
            self._waiting.extend(self._deferred)
            self._deferred.clear()
            self._next_look = time.monotonic() + OTHER_DRIVERS_S
        while self._waiting and len(self._works) < self._at_once:
            job, outcome = self._waiting.popleft()
            if not self._begun(job, outcome.unprepared):
                self._deferred.append((job, outcome))

    def _begun(self, job: TrainingJob, unprepared: tuple[FailedChain, ...]) -> bool:
        """Begin a job, or report it if others have refined it; return whether either was done."""
        data = [job.images.fingerprints[split] for split in SCORED_SPLITS]
        not_made = (task for tasks in self._features_to_make.values() for task in tasks)
        if any(task.fingerprint in data for task in not_made):
            return False
        lease = self._store.leases.take("refine", job.key, run=self._context.run_id)
        if lease is None:
            return False
        keys = [key for trial in job.trials for key in trial.chains.values()]
        if all(self._store.has("scores", key) for key in keys):
            for key in keys:
                publish(self._store, key, self._context.results)
            self._progress.refined(job, ())
            lease.release()
            return True

        def refine(split: str, bounds: tuple[int, int]) -> _Start:
            features = self._feature_tasks.get((job.images.fingerprints[split], bounds), [])
            return lambda options: _refine.options(**options).remote(
                job, split, bounds, self._shared, unprepared, *features
            )

        todo = deque(
            refine(split, bounds)
            for split in SCORED_SPLITS
            for bounds in self._shards[job.images.fingerprints[split]]
        )

        def score(refined: list[Any]) -> _Start:
            tasks = tuple(refined)
            return lambda options: _score.options(**options).remote(job, self._shared, *tasks)

        self._works.append(_Work(job, job.key, lease, todo, closing=score))
        return True

    def _make_image_features(self) -> None:
        """Start what steps precompute from images alone, where no other driver is at it."""
        for split_key in list(self._features_to_make):
            left = still_missing(self._features_to_make[split_key], self._store)
            if left:
                lease = self._store.leases.take("described", split_key, run=self._context.run_id)
                if lease is None:
                    continue
                work = _Work(None, split_key, lease)
                for task in left:
                    if self._gpus:
                        on_gpu = _make_features_on_gpu.options(num_gpus=self._gpus)
                        started = on_gpu.remote(task, self._shared, self._gpus)
                    else:
                        started = _make_features.remote(task, self._shared)
                    of_shard = (task.fingerprint, task.bounds)
                    self._feature_tasks.setdefault(of_shard, []).append(started)
                    work.started.append(started)
                    self._in_flight[started] = None
                self._works.append(work)
            del self._features_to_make[split_key]

    def _report(self, work: _Work) -> None:
        result: Any
        try:
            result = ray.get(work.started if work.job is None else work.started[-1])
        except (StorageError, ray.exceptions.RayError) as error:
            if isinstance(error, StorageError) and not isinstance(error, CorruptArtifactError):
                self._stop.without_storage(getattr(error, "cause", error))
                return
            said = one_line(getattr(error, "cause", None) or error, 300)
            if work.job is None:
                result = [said]
            else:
                chains = self._context.chains_of(work.job)
                result = [FailedChain(chain.name, said, "") for chain in chains]
        if work.job is not None:
            self._progress.refined(work.job, result)
            return
        for said in result:
            if said is not None:
                logger.warning("  %s", said)


@contextlib.contextmanager
def _at_work(context: RunContext, key: str, part: str) -> Iterator[ArtifactStore]:
    """Prepare a worker: one thread for one CPU, and the folder of plug-ins; give the store.

    A lease on the task says meanwhile how far it is. It is this run's own: where another driver
    makes the same, which happens after a driver stood still, each is watched by its own driver.

    Args:
        context: the run.
        key: of the work's lease.
        part: of the work that the task makes.

    """
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    search_in(context.import_path)
    store = ArtifactStore(context.store, expect=True)
    open_folder(context.results, expect=True)  # a process that has not seen its mark would make it
    note = f"refinement: {part.replace('-', ' ')}"
    shard = shard_of_work(key, f"{part}-{context.run_id}")
    with contextlib.ExitStack() as leased:
        lease = store.leases.take(SHARD_STAGE, shard, note, context.run_id)
        if lease is not None:  # else one of a worker that died, on another machine
            lease.progress()
            leased.enter_context(lease)
            leased.enter_context(hearing_progress(lease.progress))
        yield store


def _part(split: str, bounds: tuple[int, int]) -> str:
    return f"{split}-{bounds[0]}-{bounds[1]}"


@ray.remote(num_cpus=1, max_retries=TASK_RETRIES)
def _make_features(task: ImageFeatureTask, context: RunContext) -> str | None:
    with _at_work(context, task.split_key, _part(task.split, task.bounds)) as store:
        return try_image_features(task, store, "cpu")


# Each in a process of its own: one that had seen a GPU would keep it, and its memory, for whatever
# Ray gives the process next. Ray does so itself only where the share stands here.
@ray.remote(num_cpus=1, max_calls=1, max_retries=TASK_RETRIES)
def _make_features_on_gpu(task: ImageFeatureTask, context: RunContext, gpus: float) -> str | None:
    share = use_share({"CPU": 1.0, "GPU": gpus}, simulated=context.simulated_gpus)
    with _at_work(context, task.split_key, _part(task.split, task.bounds)) as store:
        return try_image_features(task, store, share.device)


@ray.remote(num_cpus=1, max_retries=TASK_RETRIES)
def _refine(
    job: TrainingJob,
    split: str,
    bounds: tuple[int, int],
    context: RunContext,
    unprepared: tuple[FailedChain, ...],
    *features: str | None,
) -> ShardOutcome:
    with _at_work(context, job.key, _part(split, bounds)) as store:
        return refine_shard(job, split, bounds, context, store, unprepared)


@ray.remote(num_cpus=1, max_retries=TASK_RETRIES)
def _score(
    job: TrainingJob, context: RunContext, *refined: ShardOutcome
) -> tuple[FailedChain, ...]:
    with _at_work(context, job.key, "scores") as store:
        return score_chains(job, context, store, refined)
