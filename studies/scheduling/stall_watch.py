"""Training runs that make no progress: the driver says so, and may end their workers.

A thread of the driver reads the leases of the run's own workers now and then. Their heartbeats say
how long ago the last batch or image was; a worker whose heartbeat is missing makes no progress
either.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from reports.storage import StorageError
from studies.formatting import about, no_progress
from studies.planning import TrainingJob
from studies.store import LeaseOwner, Leases

WATCH_EVERY_S = 20.0  # seconds between two looks at the leases

logger = logging.getLogger(__name__)


class StallWatch:
    """Watches the training runs of a run.

    Args:
        leases: of the store, for this watch alone.
        run: the run whose workers are watched.
        jobs: its training runs by key; those of a search may be missing.
        limit: seconds without progress after which a worker is ended; None: never.
        end: ends the worker of a lease owner.

    """

    def __init__(
        self,
        leases: Leases,
        run: str,
        jobs: Mapping[str, TrainingJob],
        limit: float | None = None,
        end: Callable[[LeaseOwner], None] = lambda owner: None,
    ) -> None:
        self._leases, self._run, self._jobs = leases, run, jobs
        self._limit, self._end = limit, end
        self._say_after: dict[str, float] = {}
        self._was_ended: set[str] = set()

    def look(self) -> None:
        """Say which training runs make no progress; end those beyond the limit.

        It says so again when the time has doubled.
        """
        for owner, idle in self._leases.of_run(self._run):
            if owner.stage != "train" or owner.token in self._was_ended:
                continue
            if self._limit is not None and idle > self._limit:
                self._was_ended.add(owner.token)
                logger.warning(
                    f"  {self._named(owner)}: no progress for {about(idle)}; its worker is "
                    f"ended, as the limit is {about(self._limit)}"
                )
                self._end(owner)
            elif not owner.stalls(idle):
                self._say_after.pop(owner.token, None)
            elif idle > self._say_after.get(owner.token, 0.0):
                self._say_after[owner.token] = 2 * idle
                said = no_progress(idle, owner.epoch_seconds)
                note = f", {owner.note}" if owner.note else ""
                where = f"process {owner.pid} on {owner.host}"
                logger.warning(f"  {self._named(owner)}{note}: {said}; {where}")

    def _named(self, owner: LeaseOwner) -> str:
        job = self._jobs.get(owner.key)
        return f"training run {owner.key}" if job is None else f"{job.name}, seed {job.seed}"

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look now and then while the block runs."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(WATCH_EVERY_S):
                with contextlib.suppress(OSError, StorageError):  # the work itself will say so
                    self.look()

        thread = threading.Thread(target=watch, daemon=True, name="stall watch")
        thread.start()
        try:
            yield
        finally:
            ended.set()
