"""Which runs end because rows are cancelled: those that cancelled rows alone need.

A row that is cancelled (`reports.ledger.cancelled`) is left out of runs that begin, and a run that
goes on ends its trials. A network that another row learns from, or is fused of, is still trained.
"""

import json
import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Protocol

from reports.ledger import CancelledRow, cancelled_rows, read_arrow
from reports.storage import Location
from studies.planning.plan import Plan
from studies.planning.segmentation.segments import Job, SegmentJob

logger = logging.getLogger(__name__)

CANCELLED_LOOK_S = 5.0
"""Seconds between two looks of a driver for rows that were cancelled since."""


def without_rows(plan: Plan, rows: Collection[str]) -> Plan:
    """Return a plan without the trials of some rows, and without the runs that they alone need.

    Segmenters that learn from these rows' maps are left out too. A network that another row needs
    stays, as the run of a teacher that no row reports does.

    Args:
        plan: the plan.
        rows: names of rows.

    """
    if not rows:
        return plan
    kept = plan.asked_for(lambda trial: trial.configuration not in rows)
    segments = tuple(job for job in plan.segments if not _rows_of(job) <= set(rows))
    return replace(kept, segments=segments)


def _rows_of(job: Job) -> set[str | None]:
    """Return the rows that a job reports; None stands for a segmenter that is of no row."""
    if isinstance(job, SegmentJob):
        return {scoring.configuration for scoring in job.scorings}
    return {trial.configuration for trial in job.trials}


def is_cancelled(results: Location, study: str, job: Job) -> bool:
    """Return whether every row of the ledger's plan that needs a job is cancelled.

    For a worker, which has no plan. Where no row is cancelled it costs one listing.

    Args:
        results: the results folder.
        study: the job's study.
        job: the job.

    """
    cancelled = cancelled_rows(results, study)
    if not cancelled or not _rows_of(job) <= set(cancelled):
        return False
    needing: set[str | None] = set()
    for table in ("plan", "segments"):
        columns = ["study", "configuration", "artifacts"]
        for row in read_arrow(results, table, columns=columns).to_pylist():
            if row["study"] == study and row["artifacts"] and job.key in row["artifacts"]:
                made = json.loads(row["artifacts"])
                if job.key in made.get(job.stage, ()):
                    needing.add(row["configuration"])
    return bool(needing) and needing <= set(cancelled)


class Cancellations(Protocol):
    """What a schedule asks of the rows that were cancelled."""

    def ending(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs of these that are not to be run any more."""
        ...


class CancelledInRun:
    """The cancelled rows of a plan, looked at now and then while it runs.

    Args:
        plan: the plan; it may grow.
        results: the folder of the ledger.

    Attributes:
        rows: at the last look, by name.

    """

    def __init__(self, plan: Plan, results: Location) -> None:
        self._plan, self._results = plan, results
        self.rows: dict[str, CancelledRow] = {}
        self.look()

    def look(self) -> None:
        """Read the marks."""
        self.rows = cancelled_rows(self._results, self._plan.study.study)
        self._next_look = time.monotonic() + CANCELLED_LOOK_S

    @property
    def kept(self) -> Plan:
        """The plan without the rows that were cancelled at the last look."""
        return without_rows(self._plan, self.rows)

    def ending(self, jobs: Iterable[Job]) -> list[Job]:
        """See `Cancellations`; looks again where the last look is `CANCELLED_LOOK_S` ago.

        Jobs that are not in the plan, as those of a search, go on.
        """
        if time.monotonic() >= self._next_look:
            self.look()
        if not self.rows:
            return []
        known, kept = self._plan.all_jobs, self.kept.all_jobs
        return [job for job in jobs if job.key in known and job.key not in kept]

    def log(self) -> None:
        """Warn of each row that is left out."""
        for line in self.lines:
            logger.warning("  %s", line)

    @property
    def lines(self) -> list[str]:
        """What is left out, and how a row is taken back; a line for each row."""
        return [row.line for row in self.rows.values()]
