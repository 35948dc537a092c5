"""Work that makes no progress: the driver says so, and may end the worker.

A thread of the driver reads the leases of the run's own workers now and then. Their heartbeats say
how long ago the last batch or image was; a worker whose heartbeat is missing makes no progress
either. A worker that hangs may lose its lease, and another driver does its work: then it is ended.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from reports.storage import StorageError
from studies.formatting import about, no_progress
from studies.planning import Job
from studies.store import JOB_STAGES, SHARD_STAGE, LeaseOwner, Leases, stalled_after, work_of_shard

WATCH_EVERY_S = 20.0  # seconds between two looks at the leases, at most

_TAKEN_OVER = "another driver has taken it over; its worker here is ended"

logger = logging.getLogger(__name__)


class EndableWorkers(Protocol):
    """The workers of a driver that can be ended."""

    def working(self) -> Mapping[str, float]:
        """Return the keys of the training runs at work, and when each began (monotonic clock)."""

    def is_finished(self, key: str) -> bool:
        """Return whether the store holds all that a training run at work is to make."""

    def give_up(self, key: str) -> None:
        """Leave a training run to the driver that has its lease, once its worker here has ended."""

    def end_worker(self, owner: LeaseOwner) -> None:
        """End the worker that owns, or owned, a lease."""


class StallWatch:
    """Watches the work of a run.

    Args:
        leases: of the store, for this watch alone.
        run: the run whose workers are watched.
        jobs: its training runs by key, those that join them later included.
        limit: seconds without progress after which a worker is ended; None: never.
        stages: of the leases that are watched.
        clock: returns seconds.

    Attributes:
        workers: those that can be ended; None where this process does all work itself.
        stalled: the keys of the work whose shards of refinement make no progress.

    """

    def __init__(
        self,
        leases: Leases,
        run: str,
        jobs: Mapping[str, Job],
        limit: float | None = None,
        stages: tuple[str, ...] = (*JOB_STAGES, SHARD_STAGE),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases, self._run, self._jobs = leases, run, jobs
        self._limit, self._stages, self._clock = limit, stages, clock
        self._every = WATCH_EVERY_S if limit is None else min(WATCH_EVERY_S, limit / 3)
        self._looked = clock()
        self._say_after: dict[str, float] = {}
        self._was_ended: set[str] = set()
        self._held: dict[str, tuple[LeaseOwner, float]] = {}
        self.workers: EndableWorkers | None = None
        self.stalled: frozenset[str] = frozenset()

    def look(self) -> None:
        """Say what makes no progress; end the workers beyond the limit.

        It says so again when the time has doubled.
        """
        found = self._leases.of_run(self._run)
        if self.workers is not None:
            found += self._without_lease(self.workers, found)
        before, self._looked = self._looked, self._clock()
        if self._looked - before > 3 * self._every:
            return  # this process itself stood still: the heartbeats of meanwhile are news
        stalled = set()
        work = {owner.key for owner, _ in found if owner.stage not in (*JOB_STAGES, SHARD_STAGE)}
        for owner, idle in found:
            if owner.stage not in self._stages or owner.token in self._was_ended:
                continue
            if owner.stage == SHARD_STAGE and owner.stalls(idle):
                stalled.add(work_of_shard(owner.key))
                if work_of_shard(owner.key) not in work:
                    self._end(owner, f"{owner.note}: {_TAKEN_OVER}")
                    continue
            if self.workers is not None and self._limit is not None and idle > self._limit:
                limit = f"as the limit is {about(self._limit)}"
                self._end(owner, f"no progress for {about(idle)}; its worker is ended, {limit}")
            elif not owner.stalls(idle):
                self._say_after.pop(owner.token, None)
            elif idle > self._say_after.get(owner.token, 0.0):
                self._say_after[owner.token] = 2 * idle
                said = no_progress(idle, owner.epoch_seconds)
                note = f", {owner.note}" if owner.note else ""
                where = f"; process {owner.pid} on {owner.host}" if owner.readable else ""
                logger.warning(f"  {self._named(owner)}{note}: {said}{where}")
        self.stalled = frozenset(stalled)

    def _without_lease(
        self, workers: EndableWorkers, found: list[tuple[LeaseOwner, float]]
    ) -> list[tuple[LeaseOwner, float]]:
        """Return the owners that training runs at work had, or never had, and for how long not.

        Such a worker hangs before it takes its lease or has lost it; a sound one ends by itself.
        """
        moment, working = self._clock(), workers.working()
        held = {owner.key: (owner, moment) for owner, _ in found if owner.stage in JOB_STAGES}
        self._held = {key: one for key, one in self._held.items() if key in working} | held
        others: set[str] | None = None
        without = []
        for key in working.keys() - held.keys():
            began = working[key]
            owner, last = self._held.get(key, (None, began))
            if owner is None or last < began:
                owner, last = _without_process(key, began), began
            idle = moment - last
            if idle <= max(self._leases.expiry, owner.expiry):
                continue
            if others is None:
                leases = self._leases.owners()
                others = {
                    one.key for one in leases if one.stage in JOB_STAGES and one.run != self._run
                }
            if key not in others and not workers.is_finished(key):
                without.append((owner, idle))
            elif owner.token not in self._was_ended:
                workers.give_up(key)
                self._end(owner, _TAKEN_OVER)
        return without

    def _end(self, owner: LeaseOwner, said: str) -> None:
        self._was_ended.add(owner.token)
        logger.warning(f"  {self._named(owner)}: {said}")
        if self.workers is not None:
            self.workers.end_worker(owner)

    def _named(self, owner: LeaseOwner) -> str:
        job = self._jobs.get(work_of_shard(owner.key))
        if job is None:
            return f"{'refinement' if owner.stage == SHARD_STAGE else 'training run'} {owner.key}"
        return job.named

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look now and then while the block runs."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(self._every):
                with contextlib.suppress(OSError, StorageError):  # the work itself will say so
                    self.look()

        thread = threading.Thread(target=watch, daemon=True, name="stall watch")
        thread.start()
        try:
            yield
        finally:
            ended.set()


def _without_process(key: str, began: float) -> LeaseOwner:
    """Return what stands for a worker that has not taken its lease yet."""
    usual = stalled_after()
    return LeaseOwner(
        "train", key, f"{key} {began}", "", 0, "", "", note="not begun", stalled_after=usual
    )
