"""Refinement as plain Ray tasks: they run on whatever CPUs are free while GPUs go on training.

A task takes about a second to minutes, far less than what Tune needs for a trial, so refinement is
no Tune trial. Tasks of a unit wait for nobody but the unit and what is known of its images. The
driver holds a lease for what its tasks are at; what another driver's are at is looked at later.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray

from reports.storage import StorageError
from studies.artifacts import ArtifactStore, DamagedArtifactError
from studies.chain_scores import score_chains
from studies.chains import described_key
from studies.leases import Lease
from studies.plan import Plan, Unit
from studies.progress import Progress
from studies.publishing import publish
from studies.refinement_stage import Description, ShardOutcome, refine_shard
from studies.refining import describe, descriptions, missing, shards_of
from studies.schedule import LOOK_S
from studies.sources import SCORED_SPLITS
from studies.stopping import Stop
from wsss_core.plugins import search_in

RETRIES = 10
"""Of a task whose worker or node was lost; what it had finished is not made again."""


@dataclass
class _Work:
    """Tasks that were started together under a lease; `unit` is None where images are described."""

    unit: Unit | None
    tasks: list[Any]
    last: Any
    lease: Lease


class RefinementTasks:
    """The refinement of a study's units, started unit by unit as these are trained.

    Args:
        plan: whose chains are walked.
        context: see `studies.runner.run_context`; with the device of the study's trials.
        gpus: share of a GPU that a task gets which sees images alone by a large model.
        progress: told of each unit's end.
        stop: when to start no more; told when the storage is away.

    """

    def __init__(
        self, plan: Plan, context: dict[str, Any], gpus: float, progress: Progress, stop: Stop
    ) -> None:
        self._context, self._gpus = context, gpus
        self._progress, self._stop = progress, stop
        self._store = store = ArtifactStore(context["store"])
        self._running: list[_Work] = []
        self._waiting: deque[Unit] = deque()
        self._deferred: list[Unit] = []
        self._next_look = 0.0
        self._described: dict[tuple[str, tuple[int, int]], list[Any]] = {}
        self._elsewhere: dict[str, list[Description]] = {}
        self._shards = shards_of(plan, store) if context["chains"] else {}
        # Beyond this, units wait here and not in Ray's queue, each under a lease.
        self._at_once = max(4, 2 * int(ray.cluster_resources().get("CPU", 1)))
        # On the object store once, not once a task.
        self._shared = ray.put(context)
        for work in descriptions(plan, store):
            whole = described_key(work.step, work.image_size, work.fingerprint, (0, 0))
            self._elsewhere.setdefault(whole, []).append(work)
        self._describe()

    def submit(self, unit: Unit) -> None:
        """Refine a unit that has been trained and scored, as soon as there is room."""
        if self._context["chains"] and unit.trials:
            self._waiting.append(unit)

    def collect(self, timeout: float = 0.0) -> None:
        """Report what has ended by now, or within `timeout` seconds, and start what can be."""
        if self._running:
            last = [work.last for work in self._running]
            ended, _ = ray.wait(last, num_returns=len(last) if not timeout else 1, timeout=timeout)
            over = [work for work in self._running if work.last in ended]
            self._running = [work for work in self._running if work.last not in ended]
            for work in over:
                self._report(work)
                work.lease.release()
        elif timeout:
            self._stop.sleep(timeout)
        if self._stop.asked or not self._left:
            return
        try:
            self._start()
        except StorageError as away:
            self._stop.without_storage(away)

    def finish(self) -> None:
        """Wait for all that was submitted, or until the run is asked to end."""
        self.collect()
        while (self._running or self._left) and not self._stop.asked:
            self.collect(timeout=1.0)

    def cancel(self) -> None:
        """Drop what has not ended; a later run goes on with it."""
        for work in self._running:
            for task in work.tasks:
                ray.cancel(task, force=True)
        for work in self._running:
            work.lease.release()
        for held in (self._running, self._waiting, self._deferred, self._elsewhere):
            held.clear()

    @property
    def _left(self) -> bool:
        """Whether something has not been started."""
        return bool(self._waiting or self._deferred or self._elsewhere)

    def _start(self) -> None:
        """Start units while there is room; those that are elsewhere are looked at now and then."""
        if time.monotonic() >= self._next_look:
            self._describe()
            self._waiting.extend(self._deferred)
            self._deferred.clear()
            self._next_look = time.monotonic() + LOOK_S
        while self._waiting and len(self._running) < self._at_once:
            unit = self._waiting.popleft()
            if not self._begun(unit):
                self._deferred.append(unit)

    def _begun(self, unit: Unit) -> bool:
        """Start a unit's tasks, or report it if others have refined it; whether either was done."""
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
        walks = [
            _refine.remote(
                config, split, bounds, self._shared,
                *self._described.get((unit.images.fingerprints[split], bounds), []),
            )
            for split in SCORED_SPLITS
            for bounds in self._shards[unit.images.fingerprints[split]]
        ]  # fmt: skip
        last = _score.remote(config, self._shared, *walks)
        self._running.append(_Work(unit, [*walks, last], last, lease))
        return True

    def _describe(self) -> None:
        """Start what steps have to see of images alone, where no other driver is at it."""
        for whole in list(self._elsewhere):
            left = missing(self._elsewhere[whole], self._store)
            if left:
                lease = self._store.leases.take("described", whole, run=self._context["run"])
                if lease is None:
                    continue
                tasks = []
                for work in left:
                    task = _describe.options(num_gpus=self._gpus).remote(work, self._shared)
                    self._described.setdefault((work.fingerprint, work.bounds), []).append(task)
                    tasks.append(task)
                last = _all.remote(*tasks)
                self._running.append(_Work(None, [*tasks, last], last, lease))
            del self._elsewhere[whole]

    def _report(self, work: _Work) -> None:
        try:
            result = ray.get(work.last)
        except StorageError as error:
            if not isinstance(error, DamagedArtifactError):
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
    return describe(work, _opened(context), context["device"])


@ray.remote(num_cpus=0, max_retries=RETRIES)
def _all(*results: str | None) -> list[str | None]:
    return list(results)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _refine(
    unit: dict[str, Any], split: str, bounds: tuple[int, int], context: dict[str, Any],
    *described: str | None,
) -> ShardOutcome:  # fmt: skip
    return refine_shard(unit, split, bounds, context, _opened(context))


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _score(unit: dict[str, Any], context: dict[str, Any], *walked: ShardOutcome) -> dict[str, str]:
    return score_chains(unit, context, _opened(context), walked)
