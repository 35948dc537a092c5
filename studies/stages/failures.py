"""Jobs tried under a lease, and what an error inside one means: whose fault it is.

The run's own error is a result and goes to the ledger. A storage error is not: nothing can be kept,
so the run of the study ends. A file system that came back is tried again. A failed GPU would fail
every following job: it is quarantined, and the job is started elsewhere.
"""

import contextlib
import errno
import os
import socket
import time
import traceback
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from reports.ledger.parts import write_part
from reports.storage import FULL, Folder, Location, StorageError, error_number, open_folder
from studies.formatting import error_line
from studies.planning import Job, SegmentJob, is_cancelled
from studies.stages.device import WorkerShare
from studies.stages.handover import JobStatus, Outcome, RunContext
from studies.stages.publishing import publish
from studies.stages.scoring import LedgerRow
from studies.store import ArtifactStore, CorruptArtifactError, Lease
from wsss_core.errors import InputError
from wsss_core.plugins import search_in
from wsss_core.progress import hearing_progress

PROBE_BYTES = 2**16
"""A full disk still takes a few bytes here and there."""

_WRITING_FAILED = (
    "No space left", "os error 28", "Disk quota", "PytorchStreamWriter", "I/O error",
    "Parent directory",
)  # fmt: skip
"""What PyTorch and safetensors say, in errors that are no OSError, of a file they could not write.
"""


_GPU_FAILED = (
    # At the start.
    "Torch not compiled with CUDA enabled",
    "No CUDA GPUs are available", "Found no NVIDIA driver", "CUDA driver initialization failed",
    "no CUDA-capable device is detected", "CUDA unknown error", "CUDA error: initialization error",
    "busy or unavailable", "system not yet initialized",
    "driver version is insufficient", "driver/library version mismatch",
    "forward compatibility was attempted", "no kernel image is available", "invalid device ordinal",
    # Later.
    "uncorrectable ECC error", "uncorrectable NVLink error", "hardware stack error",
    "unspecified launch failure", "launch timed out", "CUDA error: unknown error",
)  # fmt: skip
"""What CUDA says of a GPU that no other trial could use either (`cudaGetErrorString`). An illegal
address and a failed assertion are not among them: they are mostly the code's."""


class LeaseLostError(RuntimeError):
    """Another process has taken over the lease, whose heartbeat stood still for too long."""


class RowCancelledError(RuntimeError):
    """Every row that needs the job was cancelled; checkpoints stay."""


def end_if_cancelled(job: Job, context: RunContext) -> None:
    """Raise where every row that needs a job was cancelled meanwhile.

    Marks that cannot be read count as none: the work itself will say that the storage is away.

    Raises:
        RowCancelledError: they were.

    """
    cancelled = False
    with contextlib.suppress(OSError, InputError):
        cancelled = is_cancelled(context.results, context.study, job)
    if cancelled:
        raise RowCancelledError("its row was cancelled")


@dataclass(frozen=True)
class Fault:
    """What an error inside a job means.

    Attributes:
        status: how the job ends.
        error: the error in a line.
        passing: whether the next try succeeds, as what was in the way is gone.

    """

    status: JobStatus
    error: str
    passing: bool = False

    @property
    def own(self) -> bool:
        """Whether the error is the job's own, and so its result."""
        return self.status is JobStatus.FAILED and not self.passing


def fault_of(error: Exception, job: Job, context: RunContext, store: ArtifactStore) -> Fault:
    """Tell what an error inside a job means.

    Args:
        error: what was raised.
        job: the run it was raised in.
        context: its run.
        store: where the job's artifacts lie.

    """
    said = error_line(error)
    try:
        for folder in (store.folder, open_folder(context.results)):
            _write_to(folder)
        if isinstance(error, CorruptArtifactError):
            if _inputs_are_there(job, store):
                return Fault(JobStatus.FAILED, str(error), passing=True)
            return Fault(JobStatus.INPUT_CORRUPT, str(error))
    except StorageError as away:
        return Fault(JobStatus.STORAGE_DOWN, str(away))
    if error_number(error) in FULL:
        full = f"{getattr(error, 'filename', None) or store.where}: no space left on the storage"
        return Fault(JobStatus.STORAGE_DOWN, full)
    if isinstance(error, StorageError):
        # It answers again, but was waited for as long as anyone wanted.
        return Fault(JobStatus.STORAGE_DOWN, str(error))
    if is_gpu_failure(error):
        return Fault(JobStatus.GPU_FAILED, gpu_failed(error))
    passing = isinstance(error, OSError) and error.errno != errno.EACCES
    passing = passing or any(text in str(error) for text in _WRITING_FAILED)
    return Fault(JobStatus.FAILED, said, passing)


def write_failure(
    store: ArtifactStore, results: Location, table: str, key: str, row: LedgerRow
) -> bool:
    """Write the row of a failure, unless the store holds the scores: then those are published.

    Another process may finish the same work meanwhile. It keeps the scores in the store before it
    writes its row, so a second look after writing finds every success that came before the failure.

    Args:
        store: where the scores would be.
        results: the ledger's folder.
        table: "trials", "refined" or "segmented".
        key: names the scores and the row's part.
        row: the failure.

    Returns:
        Whether the failure stands.

    """
    for written in (False, True):
        if store.has("scores", key):
            try:
                publish(store, key, results)
            except CorruptArtifactError:
                pass  # quarantined: nobody has finished it
            else:
                return False
        if not written:
            write_part(results, table, key, [row])
    return True


def is_gpu_failure(error: Exception) -> bool:
    """Return whether an error says that no trial can use this process's GPU.

    >>> is_gpu_failure(RuntimeError("CUDA error: uncorrectable ECC error encountered"))
    True
    >>> is_gpu_failure(RuntimeError("CUDA error: device-side assert triggered"))
    False
    """
    by_cuda = isinstance(error, RuntimeError | AssertionError)
    return by_cuda and any(said in str(error) for said in _GPU_FAILED)


def gpu_failed(error: Exception) -> str:
    """Return an error of this process's GPU in a line that names the GPU."""
    return f"{_gpu_in_words()}: {error_line(error)}"


def _gpu_in_words() -> str:
    """Return this process's GPU by number and host, for the person who repairs it."""
    return f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '0')} of {socket.gethostname()}"


def _write_to(folder: Folder) -> None:
    """Wait until a storage is there, and raise unless it can be written to."""
    probe = f".written-{uuid.uuid4().hex[:12]}"
    try:
        folder.write(probe, bytes(PROBE_BYTES))
    finally:
        folder.delete(probe)


def _inputs_are_there(job: Job, store: ArtifactStore) -> bool:
    """Return whether the store holds all that others make for a job."""
    if not all(store.has("train", key) for key in job.needs):
        return False
    masks = job.masks if isinstance(job, SegmentJob) else None
    keys = [*job.images.keys.values(), *([masks.key] if masks else [])]
    return all(store.has("images", key) for key in keys)


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
            end_if_cancelled(self._job, self.context)
            record = self.record()
            return self.done(record)
        except RowCancelledError as cancelled:
            return Outcome(JobStatus.CANCELLED, str(cancelled))
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
