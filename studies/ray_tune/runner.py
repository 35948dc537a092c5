"""Ray Tune as the scheduler of a plan's units: ask for resources, run, stop, start again.

The order is `studies.scheduling`'s. Tune runs what can be run; where all that is left is in other
drivers' hands, Tune is ended, so that nothing is held, and started again when there is work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from studies.cluster.ray_start import node_amounts, nodes_by_id, start_ray

# ruff: isort: split
import ray
from ray import tune

from reports.storage.errors import StorageError
from studies.cluster.check import check_nodes
from studies.planning.plan import Plan, Unit
from studies.ray_tune.callbacks import (
    SET_ASIDE,
    PlanSearcher,
    ScheduleCallback,
    StopCallback,
    StopWhenAsked,
)
from studies.ray_tune.job_store import JobStore, unit_of
from studies.ray_tune.refinement import RefinementTasks
from studies.ray_tune.scratch import tune_scratch
from studies.ray_tune.spare_cores import SpareCores
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import Scheduler
from studies.scheduling.stopping import Stop
from studies.spec.resources import Demand, require_room, slots, whole_gpu
from studies.stages.device import return_freed_memory, use_share
from studies.stages.failures import gpu_failed
from studies.stages.job import finished_unit, run_unit
from studies.store.artifacts import ArtifactStore

SET_ASIDE_S = 5.0
"""Seconds between two signs of life of a worker that keeps others from a GPU that has failed."""

SIMULATED_GPUS = "WSSS_SIMULATED_GPUS"
"""Environment variable: Ray lends GPUs that are not there, so trials run on the CPU (tests)."""


def run_with_tune(
    plan: Plan,
    pending: list[Unit],
    context: dict[str, Any],
    address: str | None,
    progress: Progress,
    stop: Stop | None = None,
    *,
    checked: bool = False,
) -> dict[str, dict[str, Any]]:
    """Run units on a cluster and wait for them, and for what other drivers are at.

    Args:
        plan: what they belong to.
        pending: what has to run.
        context: see `studies.runner.run_context`.
        address: of a running cluster; None starts Ray on this machine, on loopback alone.
        progress: told of each unit's end.
        stop: ends the run when it is asked, by a signal for one, or by a storage that stays away;
            running trials are broken off.
        checked: whether `studies.cluster.check.check_nodes` has asked the nodes already.

    Returns:
        The outcomes of the units that ended, by key; see `Scheduler.outcomes`.

    """
    stop = stop or Stop()
    started_here = start_ray(address)
    store = ArtifactStore(context["store"])
    try:
        # After Ray has started: it takes SIGTERM for itself.
        with stop.listening():
            if not checked:
                check_nodes(plan, pending, context, progress.say)
            return _scheduled(plan, pending, context, store, progress, stop)
    finally:
        if started_here:
            ray.shutdown()
        # All workers have ended or are being killed: nobody has to find out that they are dead.
        with contextlib.suppress(OSError, StorageError):
            store.leases.drop_run(context["run"])


def _scheduled(
    plan: Plan,
    pending: list[Unit],
    context: dict[str, Any],
    store: ArtifactStore,
    progress: Progress,
    stop: Stop,
) -> dict[str, dict[str, Any]]:
    nodes = node_amounts()
    whole = whole_gpu(nodes)
    asked = [unit.resources.asks(whole) for unit in pending]
    require_room(zip((unit.name for unit in pending), asked, strict=True), nodes)
    # Without this, Tune asks for one trial at a time of a searcher that is not random.
    at_once = max(slots(request, nodes) for request in asked)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(at_once)
    progress.at_once = at_once
    gpus = max(request.get("GPU", 0.0) for request in asked)
    simulated = bool(os.environ.get(SIMULATED_GPUS))
    device = "cuda" if gpus and not simulated else "cpu"
    shelves = JobStore(_with_teachers(plan, pending))
    context = {
        **context, "device": device, "whole_gpu": whole, "simulated_gpus": simulated,
        "units": shelves.shelves,
    }  # fmt: skip
    schedule = Scheduler(
        plan, pending, store, progress, stop,
        lambda unit: finished_unit(unit.as_config(), context, store), context["run"],
    )  # fmt: skip
    refinement = RefinementTasks(
        plan, context, gpus, SpareCores(asked, nodes_by_id), progress, stop
    )
    schedule.on_ok = refinement.submit
    try:
        while not (schedule.all_ended or stop.asked):
            searcher = PlanSearcher(schedule, shelves)
            callbacks: list[tune.Callback] = [
                ScheduleCallback(schedule, refinement, stop, at_once),
                StopCallback(stop),
            ]
            _run_tune(plan, context, searcher, callbacks, stop, reuse=not gpus)
            while not (schedule.can_start or schedule.all_ended or stop.asked):
                schedule.wait()
                refinement.collect(alone=True)
        refinement.finish()
    finally:
        refinement.cancel()
    return schedule.outcomes


def _with_teachers(plan: Plan, pending: list[Unit]) -> list[Unit]:
    """The units and all that they build upon: a damaged teacher has to be made again."""
    found = {unit.key: unit for unit in pending}
    wanted = list(pending)
    while wanted:
        teacher = plan.units.get(wanted.pop().parent or "")
        if teacher is not None and teacher.key not in found:
            found[teacher.key] = teacher
            wanted.append(teacher)
    return list(found.values())


def _run_tune(
    plan: Plan,
    context: dict[str, Any],
    searcher: PlanSearcher,
    callbacks: list[tune.Callback],
    stop: Stop,
    *,
    reuse: bool,
) -> None:
    """Let Tune run units until none runs and none can be started."""
    whole = context["whole_gpu"]
    trainable = tune.with_resources(
        tune.with_parameters(_tune_trial, context=context),
        # Of each unit: Tune hands a worker on between trials of equal requests alone.
        lambda config: tune.PlacementGroupFactory([requested(config["unit"], whole)]),
    )
    # Workers that died are the schedule's to speak of.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tune_scratch() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                # A worker that stays saves importing torch; a GPU's memory comes back for
                # sure only when its process ends.
                reuse_actors=reuse,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            # A unit whose worker died is started again by the schedule, which knows whether it had
            # come further and whether its node is to blame.
            run_config=run_config(plan, scratch, StopWhenAsked(stop, searcher), callbacks),
        ).fit()
    if stop.fault is not None:
        raise stop.fault


def run_config(
    plan: Plan, scratch: str, stopper: StopWhenAsked, callbacks: list[tune.Callback]
) -> tune.RunConfig:
    """How Tune runs here: it keeps, says and starts again nothing by itself."""
    return tune.RunConfig(
        name=plan.study.file_name,
        storage_path=scratch,
        verbose=0,
        stop=stopper,
        failure_config=tune.FailureConfig(max_failures=0),
        callbacks=callbacks,
    )


def check_cluster(
    plan: Plan,
    pending: list[Unit],
    context: dict[str, Any],
    address: str | None,
    say: Callable[[str], None],
) -> None:
    """All that `run_with_tune` checks before it schedules anything; nothing is scheduled.

    Raises:
        InputError: what `start_ray`, `check_nodes` or `require_room` find.

    """
    started_here = start_ray(address)
    try:
        check_nodes(plan, pending, context, say, always_say=True)
        nodes = node_amounts()
        whole = whole_gpu(nodes)
        require_room([(unit.name, unit.resources.asks(whole)) for unit in pending], nodes)
    finally:
        if started_here:
            ray.shutdown()


def _tune_trial(config: dict[str, Any], context: dict[str, Any]) -> None:
    """One unit inside a worker of Ray Tune."""
    share = share_of(requested(config["unit"], context["whole_gpu"]), context)
    outcome = run_unit(unit_of(config["unit"], context["units"]), {**context, **share})
    return_freed_memory()
    if outcome["status"] == "device":
        set_gpu_aside(outcome)
    tune.report({"ended": 1, **outcome})


def share_of(given: dict[str, float], context: dict[str, Any]) -> dict[str, Any]:
    """See `studies.stages.device.use_share`; a GPU that cannot be used is set aside."""
    try:
        return use_share(given, simulated=context["simulated_gpus"])
    except (RuntimeError, AssertionError) as error:
        set_gpu_aside(gpu_failed(error))


def set_gpu_aside(outcome: dict[str, Any]) -> NoReturn:
    """Report that this worker's GPU has failed, and stay until Tune ends this worker.

    Ray would give the GPU to the next trial, which would end as soon, and so on.
    """
    tune.report({"ended": 1, **outcome})
    while True:
        time.sleep(SET_ASIDE_S)
        tune.report({"ended": 0, "status": SET_ASIDE})


def requested(unit: dict[str, Any], whole: float) -> dict[str, float]:
    """What a unit, by its label, asks of Ray; `whole` is what `gpus: auto` stands for."""
    return Demand(**unit["resources"]).asks(whole)


def _trial_name(trial: Any) -> str:
    # Tune's default name holds the whole configuration, which is too long for a folder.
    return f"unit_{trial.trial_id}"
