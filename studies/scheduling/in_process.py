"""A plan's units one after another in this process, without Ray: for a debugger."""

from __future__ import annotations

import contextlib
from typing import Any

from reports.storage.errors import StorageError
from studies.planning.plan import Plan, Unit
from studies.scheduling.progress import Progress
from studies.scheduling.schedule import Outcome, Scheduler
from studies.scheduling.stopping import Stop
from studies.stages.environment import device_name
from studies.stages.job import finished_unit, run_unit
from studies.stages.refinement import Unprepared
from studies.stages.shards import describe_all, refine_unit, shards_of
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError


def run_in_process(
    plan: Plan,
    pending: list[Unit],
    context: dict[str, Any],
    progress: Progress,
    stop: Stop,
) -> dict[str, dict[str, Any]]:
    """Run units here, and wait for what other drivers are at.

    Args:
        plan: what they belong to.
        pending: what has to run.
        context: see `studies.runner.run_context`.
        progress: told of each unit's end.
        stop: ends the run when it is asked; a signal breaks off what is at work.

    Returns:
        The outcomes of the units that ended, by key; see `Scheduler.outcomes`.

    """
    store = ArtifactStore(context["store"])
    context = {**context, "device": _device(pending)}
    schedule = Scheduler(
        plan, pending, store, progress, stop,
        lambda unit: finished_unit(unit.as_config(), context, store), context["run"],
    )  # fmt: skip
    refine = _Refinement(plan, context, store, progress)
    schedule.on_ok = refine.add
    try:
        with stop.listening(at_once=True):
            progress.say(f"one after another in this process, on {device_name(context['device'])}")
            describe_all(plan, store, context["device"], progress.say)
            while not (schedule.all_ended and not refine.left) and not stop.asked:
                unit = schedule.next()
                if unit is not None:
                    outcome = run_unit(unit.as_config(), context)
                    if outcome["status"] == "device":
                        raise InputError(outcome["error"])  # of this process and all it would do
                    schedule.came_back(unit.key, outcome)
                if not refine.some() and unit is None:
                    schedule.wait()
    except StorageError as away:
        stop.without_storage(away)
    except KeyboardInterrupt:
        if not stop.asked:
            raise
    finally:
        with contextlib.suppress(OSError, StorageError):
            store.leases.drop_run(context["run"])
    return schedule.outcomes


def _device(pending: list[Unit]) -> str:
    """A GPU where there is one and some unit would ask Ray for it."""
    import torch

    asks = any("GPU" in unit.resources.asks(whole_gpu=1.0) for unit in pending)
    return "cuda" if asks and torch.cuda.is_available() else "cpu"


class _Refinement:
    """The units that are to be refined; `left` are those that have not been."""

    def __init__(
        self, plan: Plan, context: dict[str, Any], store: ArtifactStore, progress: Progress
    ) -> None:
        self.left: list[tuple[Unit, Unprepared]] = []
        self._context, self._store, self._progress = context, store, progress
        self._bounds = shards_of(plan, store) if context["chains"] else {}

    def add(self, unit: Unit, outcome: Outcome) -> None:
        """Refine a unit that has been trained and scored."""
        self.left.append((unit, outcome.get("unprepared", [])))

    def some(self) -> bool:
        """Refine those that no other driver is at; whether there were any."""
        before, self.left[:] = list(self.left), []
        for unit, unprepared in before:
            if not (self._context["chains"] and unit.trials):
                continue
            lease = self._store.leases.take("refine", unit.key, run=self._context["run"])
            if lease is None:
                self.left.append((unit, unprepared))
                continue
            with lease:
                errors = refine_unit(
                    unit.as_config(), self._context, self._store, self._bounds, unprepared
                )
            self._progress.refined(unit, errors)
        return len(self.left) < len(before)
