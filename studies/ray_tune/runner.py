"""Ray Tune as the scheduler of a plan's jobs: ask for resources, run, stop, start again.

The order is `studies.scheduling`'s. Tune runs what can be run; where all that is left is in other
drivers' hands, Tune is ended, so that nothing is held, and started again when there is work.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from studies.cluster.ray_start import node_amounts, nodes_by_id, ray_running

# ruff: isort: split
from ray import tune

from reports.storage import StorageError
from studies.cluster.check import check_nodes
from studies.planning import (
    CancelledInRun,
    Job,
    NodeAmounts,
    Plan,
    requests_of,
    require_room,
    slots,
    whole_gpu,
)
from studies.ray_tune.callbacks import PlanSearcher, ScheduleCallback, StopWhenAsked
from studies.ray_tune.job_store import JobStore
from studies.ray_tune.refinement import RefinementTasks
from studies.ray_tune.scratch import tune_scratch
from studies.ray_tune.spare_cores import SpareCores
from studies.ray_tune.trial import OWN_PROCESS
from studies.ray_tune.trial import run_trial as _tune_trial
from studies.scheduling.gpu_packing import SMALLEST_SHARE, GpuPacking
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import OnEnd, Scheduler
from studies.scheduling.stall_watch import StallWatch
from studies.scheduling.stopping import Stop
from studies.stages import Outcome, RunContext, finished_job
from studies.store import ArtifactStore, Leases

logger = logging.getLogger(__name__)

SIMULATED_GPUS = "WSSS_SIMULATED_GPUS"
"""Environment variable: Ray lends GPUs that are not there, so trials run on the CPU (tests)."""


def run_with_tune(
    plan: Plan,
    pending: Sequence[Job],
    context: RunContext,
    address: str | None,
    progress: Progress,
    stop: Stop | None = None,
    *,
    begin: Callable[[list[NodeAmounts]], Sequence[Job]] | None = None,
    on_end: OnEnd | None = None,
    end_stalled: float | None = None,
    later: Collection[Job] = (),
) -> dict[str, Outcome]:
    """Run jobs on a cluster and wait for them, and for those that other drivers run.

    Args:
        plan: the jobs' plan.
        pending: the jobs that have to run.
        context: their run.
        address: of a running cluster; None starts Ray on this machine, on loopback alone.
        progress: told of each job's end.
        stop: ends the run when it is asked, by a signal for one, or by a storage that stays away;
            running jobs are broken off.
        begin: takes what the nodes have; returns further jobs to begin with, in a search, whose
            plan says what such jobs are like.
        on_end: see `Scheduler.on_end`.
        end_stalled: seconds without progress after which a worker is ended; None: never.
        later: jobs that `on_end` may return, for which there has to be room as well.

    Returns:
        The outcomes of the jobs that ended, by key; see `Scheduler.outcomes`.

    """
    stop = stop or Stop()
    store = ArtifactStore(context.store)
    try:
        # Ray comes first: it takes SIGTERM for itself.
        with ray_running(address), stop.listening():
            known = list(plan.all_jobs.values()) if begin else [*pending, *later]
            check_nodes(plan, known, context)
            if begin is not None:
                pending = [*pending, *begin(node_amounts())]
            return _scheduled(
                plan, pending, context, store, progress, stop, on_end, end_stalled, later
            )
    finally:
        # All workers have ended or are being killed: nobody has to find out that they are dead.
        with contextlib.suppress(OSError, StorageError):
            store.leases.drop_run(context.run_id)


def _scheduled(
    plan: Plan,
    pending: Sequence[Job],
    context: RunContext,
    store: ArtifactStore,
    progress: Progress,
    stop: Stop,
    on_end: OnEnd | None,
    end_stalled: float | None,
    later: Collection[Job],
) -> dict[str, Outcome]:
    jobs = _with_teachers(plan, pending)
    nodes = node_amounts()
    requests = requests_of([*jobs, *later], nodes)
    known = [*pending, *later]
    asked = [requests[job.key] for job in known]
    require_room(zip((job.name for job in known), asked, strict=True), nodes)
    whole = whole_gpu(nodes)
    packing = GpuPacking.on(nodes, known, requests)
    packed = [job.resources.asks(whole, packed=SMALLEST_SHARE) for job in known]
    # Without this, Tune asks for one trial at a time of a searcher that is not random.
    at_once = max(slots(request, nodes) for request in packed)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(at_once)
    progress.at_once = at_once
    gpus = max(request.get("GPU", 0.0) for request in asked)
    context = replace(context, simulated_gpus=bool(os.environ.get(SIMULATED_GPUS)))
    job_store = JobStore(jobs, packing.request)
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
    watch = StallWatch(Leases(store.folder), context.run_id, plan.all_jobs, end_stalled)
    spare = SpareCores([*asked, *packed], nodes_by_id)
    refinement = RefinementTasks(plan, context, gpus, spare, progress, stop, watch)
    schedule.on_ok = refinement.submit
    schedule.on_end = on_end or schedule.on_end
    schedule.on_stop = packing.ended
    try:
        with watch.watching():
            while not (schedule.all_ended or stop.asked):
                searcher = PlanSearcher(schedule, job_store, packing)
                callback = ScheduleCallback(schedule, refinement, stop, nodes)
                watch.workers = callback
                trainable = tune.with_resources(
                    tune.with_parameters(_tune_trial, context=context, shelves=job_store.shelves),
                    # Of each job: Tune hands a worker on between trials of equal requests alone.
                    lambda config: tune.PlacementGroupFactory([dict(config["job"].request)]),
                )
                reuse = OWN_PROCESS or not gpus
                _run_tune(plan, trainable, searcher, callback, stop, reuse=reuse)
                while not (schedule.can_start or schedule.all_ended or stop.asked):
                    schedule.wait()
                    refinement.collect(alone=True)
            refinement.finish()
    finally:
        refinement.cancel()
    return schedule.outcomes


def _with_teachers(plan: Plan, pending: Sequence[Job]) -> list[Job]:
    """Return the jobs and all they build upon: a corrupt teacher has to be trained again."""
    found: dict[str, Job] = {}
    left = list(pending)
    while left:
        job = left.pop(0)
        if found.setdefault(job.key, job) is job:
            left += [plan.jobs[key] for key in job.needs if key in plan.jobs and key not in found]
    return list(found.values())


def _run_tune(
    plan: Plan,
    trainable: Any,
    searcher: PlanSearcher,
    callback: ScheduleCallback,
    stop: Stop,
    *,
    reuse: bool,
) -> None:
    """Let Tune run jobs until none runs and none can be started."""
    # Workers that died are the schedule's to speak of.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tune_scratch() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                # A worker that stays saves importing torch; a trial on a GPU has a process of
                # its own beside it, see `studies.ray_tune.trial`.
                reuse_actors=reuse,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            # Tune keeps nothing, prints nothing and retries nothing by itself: a job whose worker
            # died is started again by the schedule, which knows whether it had come further and
            # whether its node is to blame.
            run_config=tune.RunConfig(
                name=plan.study.file_name,
                storage_path=scratch,
                verbose=0,
                stop=StopWhenAsked(stop, searcher),
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[callback],
            ),
        ).fit()
    if stop.fault is not None:
        raise stop.fault


def check_cluster(
    plan: Plan, pending: Sequence[Job], context: RunContext, address: str | None
) -> None:
    """Check all that `run_with_tune` checks before it schedules anything; nothing is scheduled.

    Raises:
        InputError: what `start_ray`, `check_nodes` or `require_room` find.

    """
    with ray_running(address):
        check_nodes(plan, pending, context, always_log=True)
        nodes = node_amounts()
        requests = requests_of(pending, nodes)
        require_room([(job.name, requests[job.key]) for job in pending], nodes)


def _trial_name(trial: Any) -> str:
    # Tune's default name holds the whole configuration, which is too long for a folder.
    return f"job_{trial.trial_id}"
