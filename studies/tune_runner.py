"""Ray Tune as the scheduler of a plan's units: start or join a cluster, ask for resources, run.

Tune knows grids and samplers but no order between trials. `PlanSearcher` gives it one: a trial that
needs a teacher is not suggested before the teacher's trial has ended, so nothing waits while
holding a GPU, and everything else goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import socket
import uuid
import warnings
from pathlib import Path
from typing import Any

# Read by Ray when it is imported: its own tables and per-trial log files are not wanted, the
# ledger is the record; and relative paths must keep their meaning in the workers.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from studies.plan import Plan, Unit
from studies.progress import Progress
from studies.refinement_tasks import RefinementTasks
from studies.spec import Resources
from studies.trial import run_unit
from wsss_core.errors import InputError
from wsss_core.plugins import plugin_version, search_in

OBJECT_STORE_BYTES = 100 * 2**20
"""Images travel by file, not through Ray; its object store holds settings and metrics only."""

RETRIES = 2
"""Of a worker that dies. An exception inside a trial is a result and is not tried again."""

_RAY_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


def run_with_tune(
    plan: Plan,
    pending: list[Unit],
    context: dict[str, Any],
    address: str | None,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Run units on a cluster and wait for them; Ctrl-C stops gracefully after the running ones.

    Args:
        plan: what they belong to.
        pending: what has to run.
        context: what `studies.trial.run_unit` needs besides a unit.
        address: of a running cluster; None starts Ray on this machine, on loopback alone.
        progress: told of each unit's end.

    Returns:
        The outcomes of the units that ended, by key. An outcome marked `unrecorded` is of a
        worker that died and could not write to the ledger.

    """
    started_here = start_ray(address)
    # Of this run alone: another run may use the same results folder.
    scratch = Path(context["results"]) / f"scratch-{uuid.uuid4().hex[:8]}"
    outcomes: dict[str, dict[str, Any]] = {}
    try:
        require_plugins(plan.plugins, context["import_path"])
        resources = trial_resources(plan.study.resources, ray.cluster_resources())
        # Without this, Tune asks for one trial at a time of a searcher that is not random.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots(resources))
        gpus = resources.get("gpu", 0.0)
        context = {**context, "device": "cuda" if gpus else "cpu"}
        refinement = RefinementTasks(plan, context, min(gpus, 1.0), progress, progress.say)
        trainable = tune.with_parameters(
            _tune_trial, context=context, cpus=int(resources["cpu"]), gpus=gpus
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner = tune.Tuner(
                tune.with_resources(trainable, resources),
                tune_config=tune.TuneConfig(
                    search_alg=PlanSearcher(pending),
                    num_samples=len(pending),
                    # A worker that stays saves importing torch; a GPU's memory comes back for
                    # sure only when its process ends.
                    reuse_actors=not gpus,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name=plan.study.file_name,
                    storage_path=str(scratch),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    callbacks=[_ProgressCallback(pending, outcomes, progress, refinement)],
                ),
            )
            tuner.fit()
        if len(outcomes) == len(pending):
            refinement.finish()
        else:
            refinement.cancel()
    finally:
        if started_here:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    return outcomes


class PlanSearcher(Searcher):
    """Suggests each unit once its teacher's unit has ended.

    Units that others wait for come first, then the rest in the plan's order.

    Args:
        units: what has to run. A teacher that is not among them is taken as trained.

    """

    def __init__(self, units: list[Unit]) -> None:
        super().__init__(metric="ended", mode="max")
        awaited = {unit.parent for unit in units}
        self._waiting = sorted(units, key=lambda unit: unit.key not in awaited)
        self._unfinished = {unit.key for unit in units}
        self._running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next unit whose teacher is there, None while there is none, FINISHED at the end."""
        if not self._waiting:
            return str(Searcher.FINISHED)
        for unit in self._waiting:
            if unit.parent not in self._unfinished:
                self._waiting.remove(unit)
                self._running[trial_id] = unit.key
                return {"unit": unit.as_config()}
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free what waits for this unit; if it failed, those will say so in the ledger."""
        self._unfinished.discard(self._running.pop(trial_id, ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the store and the ledger say what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to bring back."""


class _ProgressCallback(tune.Callback):
    """Tells `Progress` what Tune's trials report, and keeps their outcomes."""

    def __init__(
        self,
        units: list[Unit],
        outcomes: dict[str, dict[str, Any]],
        progress: Progress,
        refinement: RefinementTasks,
    ) -> None:
        self._units = {unit.key: unit for unit in units}
        self._outcomes = outcomes
        self._progress = progress
        self._refinement = refinement

    def _end(self, trial: Any, outcome: dict[str, Any]) -> None:
        key = trial.config["unit"]["key"]
        if key not in self._outcomes:
            self._outcomes[key] = outcome
            self._progress.ended(self._units[key], outcome)
            if outcome["status"] == "ok":
                self._refinement.submit(self._units[key])
        self._refinement.collect()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A unit has ended by itself: ok, collapsed or failed."""
        result = trial.last_result or {}
        if "status" in result:
            self._end(trial, {"status": result["status"], "error": result.get("error")})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A unit's worker died more often than it may be started again."""
        error = f"its worker process died {RETRIES + 1} times"
        self._end(trial, {"status": "failed", "error": error, "unrecorded": True})


def _tune_trial(config: dict[str, Any], context: dict[str, Any], cpus: int, gpus: float) -> None:
    """One unit inside a worker of Ray Tune."""
    use_share(cpus, gpus)
    outcome = run_unit(config["unit"], context)
    return_freed_memory()
    tune.report({"ended": 1, **outcome})


def use_share(cpus: int, gpus: float) -> None:
    """Hold this worker to what its trial was given of the machine."""
    import torch

    torch.set_num_threads(cpus)
    if 0 < gpus < 1:
        # Ray shares a GPU by counting only; this holds a trial to its share of the memory.
        torch.cuda.set_per_process_memory_fraction(gpus)


def return_freed_memory() -> None:
    """Give memory that is free but kept by the C library back to the system.

    A worker that stays runs each trial in a new thread, and glibc keeps the peak of every thread
    that was: 60 MiB a trial of the quickstart, 600 at 224 px.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _trial_name(trial: Any) -> str:
    # Tune's default name holds the whole configuration, which is too long for a folder.
    return f"unit_{trial.trial_id}"


def start_ray(address: str | None) -> bool:
    """Join a cluster, or start Ray here; whether this call did so and has to end it."""
    if ray.is_initialized():
        return False
    given = address or os.environ.get("RAY_ADDRESS")
    if given is None:
        ray.init(
            address="local",
            num_cpus=_usable_cpus(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
        return True
    try:
        _reach(given)
        ray.init(address=given, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, ValueError) as error:
        said = " ".join(str(error).split())
        name = "--address" if address else "RAY_ADDRESS"
        raise InputError(f"{name} {given}: no Ray cluster answers there: {said}") from error
    return True


def _reach(address: str) -> None:
    """Raise OSError if nothing listens at "host:port"; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def require_plugins(plugins: dict[str, str], import_path: str) -> None:
    """Import plug-ins on every node of the cluster and compare the versions they declare.

    Args:
        plugins: name -> version on the driver.
        import_path: a folder that is searched too.

    Raises:
        InputError: a node that cannot import one, or has another version.

    """
    if not plugins:
        return

    @ray.remote(num_cpus=0)
    def declared() -> dict[str, str]:
        search_in(import_path)
        return {name: plugin_version("plug-in", name) for name in plugins}

    for node in (node for node in ray.nodes() if node["Alive"]):
        here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        where = node["NodeManagerHostname"]
        try:
            found = ray.get(declared.options(scheduling_strategy=here).remote(), timeout=120)
        except ray.exceptions.RayTaskError as error:
            raise InputError(f"node {where}: {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise InputError(f"node {where} cannot be asked for its plug-ins: {error}") from error
        for name, version in plugins.items():
            if found[name] != version:
                raise InputError(
                    f"node {where} has version {found[name]} of {name}, the driver {version}"
                )


def _usable_cpus() -> int:
    """The cores this process may use: fewer than the machine's in a container or under SLURM."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def trial_resources(asked: Resources, cluster: dict[str, float]) -> dict[str, float]:
    """What one trial asks for, checked against what there is at all."""
    gpus = min(1.0, cluster.get("GPU", 0.0)) if asked.gpus == "auto" else asked.gpus
    resources = {"cpu": float(asked.cpus), "memory": float(int(asked.memory_gb * 2**30))}
    if gpus:
        resources["gpu"] = float(gpus)
    for name, amount in resources.items():
        available = cluster.get(_RAY_NAMES[name], 0.0)
        if amount > available:
            unit, scale = (" GiB", 2**30) if name == "memory" else ("", 1)
            raise InputError(
                f"resources: a trial asks for {name} {amount / scale:.3g}{unit}, "
                f"the cluster has {available / scale:.3g}{unit}"
            )
    return resources


def slots(resources: dict[str, float]) -> int:
    """How many trials fit at once, all nodes taken together."""
    cluster = ray.cluster_resources()
    return max(1, int(min(cluster[_RAY_NAMES[n]] // amount for n, amount in resources.items())))
