"""Refinement as plain Ray tasks: they run on whatever CPUs are free while GPUs go on training.

A task takes about a second to minutes, far less than what Tune needs for a trial, so refinement is
no Tune trial. Tasks of a unit wait for nobody but the unit and what is known of its images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from studies.artifacts import ArtifactStore
from studies.chain_scores import score_chains
from studies.plan import Plan, Unit
from studies.progress import Progress
from studies.refinement_stage import Description, ShardOutcome, refine_shard
from studies.refining import describe, descriptions, shards_of
from studies.sources import SCORED_SPLITS
from wsss_core.plugins import search_in


class RefinementTasks:
    """The refinement of a study's units, started unit by unit as these are trained.

    Args:
        plan: whose chains are walked.
        context: see `studies.runner.run_context`; with the device of the study's trials.
        gpus: share of a GPU that a task gets which sees images alone by a large model.
        progress: told of each unit's end.
        say: where errors of those tasks go.

    """

    def __init__(
        self,
        plan: Plan,
        context: dict[str, Any],
        gpus: float,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self._context = context
        self._progress = progress
        self._say = say
        self._running: dict[Any, Unit] = {}
        store = ArtifactStore(Path(context["store"]))
        self._shards = shards_of(plan, store) if context["chains"] else {}
        self._described: dict[tuple[str, tuple[int, int]], list[Any]] = {}
        # On the object store once, not once a task.
        self._shared = ray.put(context)
        for work in descriptions(plan, store):
            task = _describe.options(num_gpus=gpus).remote(work, self._shared)
            self._described.setdefault((work.fingerprint, work.bounds), []).append(task)

    def submit(self, unit: Unit) -> None:
        """Start the tasks of a unit that has been trained and scored."""
        if not self._context["chains"] or not unit.trials:
            return
        config = unit.as_config()
        walks = [
            _refine.remote(
                config, split, bounds, self._shared,
                *self._described.get((unit.images.fingerprints[split], bounds), []),
            )
            for split in SCORED_SPLITS
            for bounds in self._shards[unit.images.fingerprints[split]]
        ]  # fmt: skip
        self._running[_score.remote(config, self._shared, *walks)] = unit

    def collect(self, timeout: float = 0.0) -> None:
        """Report the units whose refinement has ended by now, or within `timeout` seconds."""
        if not self._running:
            return
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for task in ended:
            unit = self._running.pop(task)
            try:
                errors = ray.get(task)
            except ray.exceptions.RayError as error:
                said = " ".join(str(error).split())[:300]
                errors = {chain["name"]: said for chain in self._context["chains"]}
            self._progress.refined(unit, errors)

    def finish(self) -> None:
        """Wait for all that was submitted."""
        for task in (task for tasks in self._described.values() for task in tasks):
            if (error := ray.get(task)) is not None:
                self._say(f"  {error}")
        while self._running:
            self.collect(timeout=60.0)

    def cancel(self) -> None:
        """Drop what has not ended; a later run goes on with it."""
        for task in self._running:
            ray.cancel(task, recursive=True)
        self._running.clear()


def _opened(context: dict[str, Any]) -> ArtifactStore:
    """Set a worker up: one thread for one CPU, and where plug-ins are looked for."""
    import torch

    torch.set_num_threads(1)
    search_in(context["import_path"])
    return ArtifactStore(Path(context["store"]))


@ray.remote(num_cpus=1)
def _describe(work: Description, context: dict[str, Any]) -> str | None:
    return describe(work, _opened(context), context["device"])


@ray.remote(num_cpus=1)
def _refine(
    unit: dict[str, Any], split: str, bounds: tuple[int, int], context: dict[str, Any],
    *described: str | None,
) -> ShardOutcome:  # fmt: skip
    return refine_shard(unit, split, bounds, context, _opened(context))


@ray.remote(num_cpus=1)
def _score(unit: dict[str, Any], context: dict[str, Any], *walked: ShardOutcome) -> dict[str, str]:
    return score_chains(unit, context, _opened(context), walked)
