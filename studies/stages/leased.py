"""Work under a lease: a job is tried, and what goes wrong is told apart. Nothing here knows Ray."""

import time
import traceback
from abc import ABC, abstractmethod
from dataclasses import replace

from reports.storage import StorageError, open_folder
from studies.planning import Job
from studies.stages.device import WorkerShare
from studies.stages.failures import Fault, LeaseLostError, fault_of
from studies.stages.handover import JobStatus, Outcome, RunContext
from studies.stages.scoring import LedgerRow
from studies.store import ArtifactStore, Lease
from wsss_core.plugins import search_in
from wsss_core.progress import hearing_progress

TRIES = 3  # of a job whose errors come from a storage that is there again
PAUSE_S = 1.0  # between them


class LeasedWork(ABC):
    """A job under its lease.

    Args:
        job: the job.
        context: its run.
        share: what this process has of the machine.
        store: holds what the job builds upon and gets what it makes.
        lease: on what it makes.

    """

    def __init__(
        self,
        job: Job,
        context: RunContext,
        share: WorkerShare,
        store: ArtifactStore,
        lease: Lease,
    ) -> None:
        self.context, self.share = context, share
        self.store, self.lease = store, lease
        self._job = job

    @abstractmethod
    def record(self) -> LedgerRow:
        """Return what is known of the job before it runs."""

    @abstractmethod
    def done(self, record: LedgerRow) -> Outcome:
        """Do the job, bring it to the ledger, and return how it ended."""

    @abstractmethod
    def failed(self, error: str, trace: str, record: LedgerRow) -> Outcome:
        """Write to the ledger that the job failed, and return how it ended."""

    def tried(self, *, last: bool) -> Outcome | None:
        """Try once; return None where the next try will succeed, unless this is the last."""
        record: LedgerRow = {}
        try:
            record = self.record()
            return self.done(record)
        except LeaseLostError:
            return Outcome(JobStatus.LEASED_ELSEWHERE)
        except Exception as failure:
            trace = traceback.format_exc()
            if self.lease.taken_over():
                # Whatever failed here, the result is the next owner's.
                return Outcome(JobStatus.LEASED_ELSEWHERE)
            fault: Fault = fault_of(failure, self._job, self.context, self.store)
        if fault.passing and not last:
            return None
        if fault.status is not JobStatus.FAILED:
            return Outcome(fault.status, fault.error)
        return self.failed(fault.error, trace, record)


def work_under_lease(
    work: type[LeasedWork], job: Job, context: RunContext, share: WorkerShare
) -> Outcome:
    """Take a job's lease, do the job, and return how it ended.

    Args:
        work: does it.
        job: the job.
        context: its run.
        share: what this process has of the machine.

    """
    search_in(context.import_path)
    try:
        store = ArtifactStore(context.store, expect=True)
        open_folder(context.results, expect=True)
        lease = store.leases.take(job.stage, job.key, run=context.run_id)
    except StorageError as away:
        return Outcome(JobStatus.STORAGE_DOWN, str(away))
    if lease is None:
        return Outcome(JobStatus.LEASED_ELSEWHERE)
    started = time.perf_counter()
    lease.progress()
    with lease, hearing_progress(lease.progress):
        doing = work(job, context, share, store, lease)
        for left in reversed(range(TRIES)):
            if (outcome := doing.tried(last=not left)) is not None:
                break
            time.sleep(PAUSE_S)
    assert outcome is not None
    return replace(outcome, seconds=time.perf_counter() - started)
