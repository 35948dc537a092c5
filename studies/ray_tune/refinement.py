"""Refinement as plain Ray tasks: they run on whatever CPUs are free while GPUs go on training.

A task takes about a second to minutes, far less than what Tune needs for a trial, so refinement is
no Tune trial. Tasks of a unit wait for nobody but the unit and what is known of its images. The
driver holds a lease for what its tasks are at; what another driver's are at is looked at later.

While trials wait for a GPU and its cores, tasks are held back here, see `spare_cores`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reports.storage.errors import StorageError
from studies.planning.chains import described_key
from studies.planning.images import SCORED_SPLITS
from studies.planning.plan import Plan, Unit
from studies.ray_tune.spare_cores import SpareCores
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import LOOK_S, Outcome
from studies.scheduling.stopping import Stop
from studies.stages.chain_scores import score_chains
from studies.stages.device import use_share
from studies.stages.publishing import publish
from studies.stages.refinement import Description, ShardOutcome, Unprepared, refine_shard
from studies.stages.shards import describe, descriptions, missing, shards_of
from studies.store.artifacts import ArtifactStore, CorruptArtifactError
from studies.store.leases import Lease
from wsss_core.plugins import search_in

RETRIES = 10
"""Of a task whose worker or node was lost; what it had finished is not made again."""


_Start = Callable[[dict[str, Any]], Any]
"""Starts a task of one core under options of Ray's; returns its reference."""


@dataclass
class _Work:
    """Tasks that belong together under a lease.

    Attributes:
        unit: None where images are described.
        lease: given back when all have ended.
        todo: those that have not been started.
        started: the references of those that were.
        closing: makes the one that follows when these have ended, from their references.

    """

    unit: Unit | None
    lease: Lease
    todo: deque[_Start] = field(default_factory=deque)
    started: list[Any] = field(default_factory=list)
    closing: Callable[[list[Any]], _Start] | None = None


class RefinementTasks:
    """The refinement of a study's units, started unit by unit as these are trained.

    Args:
        plan: whose chains are walked.
        context: see `studies.runner.run_context`; with the device of the study's trials.
        gpus: share of a GPU that a task gets which sees images alone by a large model.
        spare: the cores that the study's trials leave.
        progress: told of each unit's end.
        stop: when to start no more; told when the storage is away.

    """

    def __init__(
        self,
        plan: Plan,
        context: dict[str, Any],
        gpus: float,
        spare: SpareCores,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self._context, self._gpus, self._spare = context, gpus, spare
        self._progress, self._stop = progress, stop
        self._store = store = ArtifactStore(context["store"])
        self._works: list[_Work] = []
        self._in_flight: dict[Any, str | None] = {}
        """Tasks that run or wait in Ray's queue, and the nodes whose spare cores they took."""
        self._waiting: deque[tuple[Unit, Unprepared]] = deque()
        self._deferred: list[tuple[Unit, Unprepared]] = []
        self._next_look = 0.0
        self._described: dict[tuple[str, tuple[int, int]], list[Any]] = {}
        self._elsewhere: dict[str, list[Description]] = {}
        self._shards = shards_of(plan, store) if context["chains"] else {}
        # Beyond this, units wait here, each under no lease yet.
        self._at_once = max(4, 2 * int(ray.cluster_resources().get("CPU", 1)))
        # On the object store once, not once a task.
        self._shared = ray.put(context)
        for work in descriptions(plan, store):
            whole = described_key(work.step, work.image_size, work.fingerprint, (0, 0))
            self._elsewhere.setdefault(whole, []).append(work)
        self._describe()

    def submit(self, unit: Unit, outcome: Outcome) -> None:
        """Refine a unit that has been trained and scored, as soon as there is room."""
        if self._context["chains"] and unit.trials:
            self._waiting.append((unit, outcome.get("unprepared") or []))

    def collect(self, timeout: float = 0.0, *, alone: bool = False) -> None:
        """Report what has ended by now, or within `timeout` seconds, and start what can be.

        Args:
            timeout: to wait for an end if there is none.
            alone: whether no trial waits for cores.

        """
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
            self._works, self._in_flight, self._waiting, self._deferred, self._elsewhere,
        ):  # fmt: skip
            held.clear()

    @property
    def _left(self) -> bool:
        """Whether something has not been begun."""
        return bool(self._waiting or self._deferred or self._elsewhere)

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
                # If the node is lost, another has to do.
                near = node and NodeAffinitySchedulingStrategy(node, soft=True)
                task = work.todo.popleft()({"scheduling_strategy": near} if near else {})
                work.started.append(task)
                self._in_flight[task] = node

    def _begin(self) -> None:
        """Begin units while there is room; those that are elsewhere are looked at now and then."""
        if not self._left:
            return
        if time.monotonic() >= self._next_look:
            self._describe()
            self._waiting.extend(self._deferred)
            self._deferred.clear()
            self._next_look = time.monotonic() + LOOK_S
        while self._waiting and len(self._works) < self._at_once:
            unit, unprepared = self._waiting.popleft()
            if not self._begun(unit, unprepared):
                self._deferred.append((unit, unprepared))

    def _begun(self, unit: Unit, unprepared: Unprepared) -> bool:
        """Begin a unit, or report it if others have refined it; whether either was done."""
        data = [unit.images.fingerprints[split] for split in SCORED_SPLITS]
        if any(work.fingerprint in data for works in self._elsewhere.values() for work in works):
            return False
        lease = self._store.leases.take("refine", unit.key, run=self._context["run"])
        if lease is None:
            return False
        keys = [key for trial in unit.trials for key in trial.chain_keys]
        if all(self._store.has("scores", key) for key in keys):
            for key in keys:
                publish(self._store, key, self._context["results"])
            self._progress.refined(unit, {})
            lease.release()
            return True
        config = unit.as_config()

        def walk(split: str, bounds: tuple[int, int]) -> _Start:
            seen = self._described.get((unit.images.fingerprints[split], bounds), [])
            return lambda options: _refine.options(**options).remote(
                config, split, bounds, self._shared, unprepared, *seen
            )

        walks = deque(
            walk(split, bounds)
            for split in SCORED_SPLITS
            for bounds in self._shards[unit.images.fingerprints[split]]
        )

        def score(walked: list[Any]) -> _Start:
            tasks = tuple(walked)
            return lambda options: _score.options(**options).remote(config, self._shared, *tasks)

        self._works.append(_Work(unit, lease, walks, closing=score))
        return True

    def _describe(self) -> None:
        """Start what steps have to see of images alone, where no other driver is at it."""
        for whole in list(self._elsewhere):
            left = missing(self._elsewhere[whole], self._store)
            if left:
                lease = self._store.leases.take("described", whole, run=self._context["run"])
                if lease is None:
                    continue
                one = _Work(None, lease)
                for work in left:
                    if self._gpus:
                        on_gpu = _describe_on_gpu.options(num_gpus=self._gpus)
                        task = on_gpu.remote(work, self._shared, self._gpus)
                    else:
                        task = _describe.remote(work, self._shared)
                    self._described.setdefault((work.fingerprint, work.bounds), []).append(task)
                    one.started.append(task)
                    self._in_flight[task] = None
                self._works.append(one)
            del self._elsewhere[whole]

    def _report(self, work: _Work) -> None:
        result: Any
        try:
            result = ray.get(work.started if work.unit is None else work.started[-1])
        except StorageError as error:
            if not isinstance(error, CorruptArtifactError):
                self._stop.without_storage(getattr(error, "cause", error))
                return
            result = self._all_failed(error)
        except ray.exceptions.RayError as error:
            result = self._all_failed(error)
        if work.unit is not None:
            self._progress.refined(work.unit, result)
            return
        for said in result if isinstance(result, list) else list(result.values())[:1]:
            if said is not None:
                self._progress.say(f"  {said}")

    def _all_failed(self, error: Exception) -> dict[str, str]:
        said = " ".join(str(getattr(error, "cause", None) or error).split())[:300]
        return {chain["name"]: said for chain in self._context["chains"]}


def _opened(context: dict[str, Any]) -> ArtifactStore:
    """Set a worker up: one thread for one CPU, and where plug-ins are looked for."""
    import torch

    torch.set_num_threads(1)
    search_in(context["import_path"])
    return ArtifactStore(context["store"], expect=True)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _describe(work: Description, context: dict[str, Any]) -> str | None:
    return describe(work, _opened(context), "cpu")


# Each in a process of its own: one that had seen a GPU would keep it, and its memory, for whatever
# Ray gives the process next. Ray does so itself only where the share stands here.
@ray.remote(num_cpus=1, max_calls=1, max_retries=RETRIES)
def _describe_on_gpu(work: Description, context: dict[str, Any], gpus: float) -> str | None:
    given = use_share({"CPU": 1.0, "GPU": gpus}, simulated=context["simulated_gpus"])
    return describe(work, _opened(context), given["device"])


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _refine(
    unit: dict[str, Any],
    split: str,
    bounds: tuple[int, int],
    context: dict[str, Any],
    unprepared: Unprepared,
    *described: str | None,
) -> ShardOutcome:
    return refine_shard(unit, split, bounds, context, _opened(context), unprepared)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _score(unit: dict[str, Any], context: dict[str, Any], *walked: ShardOutcome) -> dict[str, str]:
    return score_chains(unit, context, _opened(context), walked)
