"""Which unit is next, and what its end means for the others. Nothing here knows Ray.

A student is not started before its teacher's unit has ended, and a unit that another driver's
worker is at is left to it: nobody waits while holding a GPU. Once one unit was found to be
elsewhere, leases and finished artifacts are listed now and then: what is done is not run, and what
a dead owner left is taken over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from reports.storage.errors import StorageError
from studies.planning.plan import Plan, Unit
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.store.artifacts import ArtifactStore, CorruptArtifactError
from studies.store.layout import SCRATCH

RETRIES = 2
"""Of a unit whose worker died without having come further, whose inputs were damaged, or that met
GPUs which cannot be used. An exception inside a unit is a result and is not tried again."""

LOOK_S = 5.0
"""Seconds between two looks at what others do; more where a look itself takes long."""

NEVER = float("inf")

Outcome = dict[str, Any]


class Scheduler:
    """The units that have to run, in their order, and how they ended.

    Those that others wait for come first, then the rest in the plan's order.

    Args:
        plan: what they belong to.
        units: what has to run. A teacher that is not among them is taken as trained.
        store: where artifacts and leases lie.
        progress: told of each unit's end.
        stop: when to start no more; told when the storage is away.
        finished: the outcome of a unit that others have finished, its trials in the ledger.
        run: of this driver, see `studies.store.leases.LeaseOwner`.
        look_every: see `LOOK_S`.

    Attributes:
        outcomes: of the units that ended, by key. One marked `unrecorded` is not in the ledger.
        on_ok: called with each unit that ended well, and its outcome.

    """

    def __init__(
        self,
        plan: Plan,
        units: list[Unit],
        store: ArtifactStore,
        progress: Progress,
        stop: Stop,
        finished: Callable[[Unit], Outcome],
        run: str = "",
        look_every: float = LOOK_S,
    ) -> None:
        awaited = {unit.parent for unit in units}
        self.outcomes: dict[str, Outcome] = {}
        self.on_ok: Callable[[Unit, Outcome], None] = lambda unit, outcome: None
        self._plan, self._store, self._progress = plan, store, progress
        self._stop, self._finished, self._run = stop, finished, run
        self._waiting = sorted(units, key=lambda unit: unit.key not in awaited)
        self._running: dict[str, Unit] = {}
        self._not_ended = {unit.key for unit in units}
        self._elsewhere: set[str] = set()
        self._tried_again: dict[str, int] = {}
        self._came_to: dict[str, object] = {}
        self._look_every, self._next_look = look_every, 0.0

    @property
    def running(self) -> int:
        """How many units have been given out and not come back."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many units have to be given out yet."""
        return len(self._waiting)

    @property
    def all_ended(self) -> bool:
        """Whether every unit has ended."""
        return not self._not_ended

    @property
    def can_start(self) -> bool:
        """Whether `next` would give a unit out."""
        self.look()
        return not self._stop.asked and self._place() is not None

    def next(self) -> Unit | None:
        """A unit that can be started now; None while there is none."""
        if not self.can_start or (place := self._place()) is None:
            return None
        unit = self._waiting.pop(place)
        self._running[unit.key] = unit
        return unit

    def _place(self) -> int | None:
        for place, unit in enumerate(self._waiting):
            if unit.parent not in self._not_ended and unit.key not in self._elsewhere:
                return place
        return None

    def came_back(self, key: str, outcome: Outcome) -> None:
        """A unit that was given out is back, with what `studies.stages.job.run_unit` says of it."""
        unit = self._running.pop(key, None)
        if unit is None:
            return
        match outcome["status"]:
            case "elsewhere":
                self._elsewhere.add(key)
                self._waiting.insert(0, unit)
                if self._next_look == NEVER:
                    self._next_look = 0.0
            case "storage":
                self._stop.without_storage(outcome["error"])
                self._waiting.insert(0, unit)
            case "damaged":
                self._make_again(unit, outcome["error"])
            case "device":
                if self._again(unit, "device"):
                    error = (
                        f"met {RETRIES + 1} GPUs that cannot be used; the last: {outcome['error']}"
                    )
                    self._end(unit, {"status": "failed", "error": error, "unrecorded": True})
                    return
                self._progress.say(f"  {outcome['error']}")
                self._waiting.insert(0, unit)
            case _:
                self._end(unit, outcome)

    def died(self, key: str, *, node_lost: bool) -> None:
        """The worker of a unit died; it is started again unless it dies without coming further."""
        unit = self._running.pop(key, None)
        if unit is None:
            return
        if not node_lost and self._again(unit, self._progress_of(unit)):
            error = f"its worker process died {RETRIES + 1} times without coming further"
            self._end(unit, {"status": "failed", "error": error, "unrecorded": True})
            return
        what = "node was lost" if node_lost else "worker process died"
        self._progress.say(f"  {unit.name}, seed {unit.seed}: its {what}; it is started again")
        self._waiting.insert(0, unit)

    def look(self) -> None:
        """See, at a modest rate, what others do and have done with the units that wait."""
        if not self._waiting or time.monotonic() < self._next_look:
            return
        began = time.monotonic()
        try:
            self._look()
        except StorageError as away:
            self._stop.without_storage(away)
        if not self._elsewhere and self._next_look == 0.0:
            self._next_look = NEVER  # until a unit comes back that is elsewhere
            return
        took = time.monotonic() - began
        self._next_look = time.monotonic() + max(self._look_every, 20 * took)

    def wait(self) -> None:
        """Sleep until the next look; for a driver that has nothing to do meanwhile."""
        left = self._next_look - time.monotonic()
        self._stop.sleep(left if left < NEVER else self._look_every)

    def _look(self) -> None:
        leases = self._store.leases
        held = {
            owner.key
            for owner in leases.owners()
            if owner.stage == "train" and owner.run != self._run
        }
        if not (held or self._elsewhere):
            return
        scored, trained = self._store.finished("scores"), self._store.finished("train")
        for unit in list(self._waiting):
            keys = [key for trial in unit.trials for key in (trial.key, *trial.chain_keys)]
            if unit.key in held:
                self._elsewhere.add(unit.key)
            elif unit.key in trained and scored.issuperset(keys):
                with contextlib.suppress(CorruptArtifactError):  # then it is run again
                    outcome = self._finished(unit)
                    self._waiting.remove(unit)
                    self._end(unit, outcome, refine=False)
                self._elsewhere.discard(unit.key)
            elif unit.key in self._elsewhere and (lease := leases.take("train", unit.key)):
                # A worker that has not seen the dead owner's heart stand still could not take it.
                lease.release()
                self._elsewhere.discard(unit.key)

    def _end(self, unit: Unit, outcome: Outcome, *, refine: bool = True) -> None:
        self._not_ended.discard(unit.key)
        self.outcomes[unit.key] = outcome
        self._progress.ended(unit, outcome)
        if outcome["status"] == "ok" and refine:
            self.on_ok(unit, outcome)

    def _make_again(self, unit: Unit, error: str) -> None:
        """Put a unit back and what it builds upon before it."""
        if self._again(unit, "damaged"):
            self._end(unit, {"status": "failed", "error": error, "unrecorded": True})
            return
        self._progress.say(f"  {error}")
        try:
            unit.images.decode(self._store)
            teacher = self._plan.units.get(unit.parent or "")
            if teacher is not None and not self._store.has("train", teacher.key):
                self._add(teacher)
        except StorageError as away:
            self._stop.without_storage(away)
        self._waiting.insert(0, unit)

    def _add(self, unit: Unit) -> None:
        if unit.key in self._not_ended:
            return
        if unit.parent is not None and not self._store.has("train", unit.parent):
            self._add(self._plan.units[unit.parent])
        self._not_ended.add(unit.key)
        self._waiting.insert(0, unit)
        self._progress.more(unit)

    def _again(self, unit: Unit, came_to: object) -> bool:
        """Count a try that ended where the one before did; whether there were too many."""
        if self._came_to.get(unit.key) != came_to:
            self._came_to[unit.key] = came_to
            self._tried_again[unit.key] = 0
        self._tried_again[unit.key] += 1
        return self._tried_again[unit.key] > RETRIES

    def _progress_of(self, unit: Unit) -> object:
        """What differs once a unit has come further: its checkpoint and what it has finished."""
        try:
            kept = self._store.folder.joined(SCRATCH, f"train-{unit.key}").listing()
            scored = sum(self._store.has("scores", trial.key) for trial in unit.trials)
            return str(kept), self._store.has("train", unit.key), scored
        except StorageError as away:
            self._stop.without_storage(away)
            return None
