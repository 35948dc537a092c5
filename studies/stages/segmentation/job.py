"""What a worker does with a segmentation run: train the segmenter, score it, write the ledger."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from reports.ledger.parts import read_table
from studies.planning import SegmentJob, SegmentScoring
from studies.stages import environment
from studies.stages.device import UNCOUNTED, WorkerShare
from studies.stages.failures import (
    LeasedWork,
    LeaseLostError,
    end_if_cancelled,
    write_failure,
)
from studies.stages.handover import JobStatus, Outcome, RunContext
from studies.stages.publishing import keep_scores, publish
from studies.stages.scoring import LedgerRow, LedgerRows
from studies.stages.segmentation.decoder import keep_decoder
from studies.stages.segmentation.scoring import segment_rows
from studies.stages.segmentation.training import (
    SegmentOutcome,
    load_trained_segmenter,
    train_segmenter,
)
from studies.store import ArtifactStore, Lease, canonical
from studies.store.origin import method_digest, origin, together
from wsss_core.segmentation import FitRecord


class SegmentWork(LeasedWork):
    """A segmentation run under its lease."""

    @property
    def job(self) -> SegmentJob:
        """The segmentation run."""
        assert isinstance(self._job, SegmentJob)
        return self._job

    def record(self) -> LedgerRow:
        """See `LeasedWork`."""
        return _record(self.job, self.share)

    def done(self, record: LedgerRow) -> Outcome:
        """See `LeasedWork`."""
        job, store = self.job, self.store
        memory = environment.PeakMemory(self.share.device)
        if job.single_stage:
            outcome = keep_decoder(job, store)
        else:
            outcome = train_segmenter(
                job, self.context, store, self.share, _after_record(job, self.context, self.lease)
            )
        self.lease.report("scoring")
        record |= _of_training(outcome)
        segmenter = None
        for scoring in job.scorings:
            if store.has("scores", scoring.scores_key):
                continue
            started = time.perf_counter()
            rows: LedgerRows = {}
            if outcome.status is JobStatus.OK:
                segmenter = segmenter or load_trained_segmenter(
                    store, job.key, device=self.share.device
                )
                rows["segment_scores"] = segment_rows(
                    job, scoring, segmenter, store, self.share.device
                )
            rows["segmented"] = [
                {
                    **record,
                    **_identity(job, scoring),
                    "status": str(outcome.status),
                    "error": outcome.error,
                    "seconds_scoring": time.perf_counter() - started,
                    "peak_memory_bytes": memory.bytes(),
                }
            ]
            keep_scores(store, job, scoring.scores_key, rows, {"scores_key": scoring.scores_key})
        for key in job.score_keys():
            publish(store, key, self.context.results)
        return Outcome(outcome.status, outcome.error)

    def failed(self, error: str, trace: str, record: LedgerRow) -> Outcome:
        """See `LeasedWork`."""
        return failed_segment(self.job, self.context, error, trace, record)


def finished_segment(job: SegmentJob, context: RunContext, store: ArtifactStore) -> Outcome:
    """Bring a run that others have finished to this run's ledger; return how it ended."""
    for key in job.score_keys():
        publish(store, key, context.results)
    keys, columns = [job.score_keys()[0]], ["status", "error"]
    row = read_table(context.results, "segmented", keys=keys, columns=columns).iloc[0]
    return Outcome(JobStatus(row["status"]), row["error"])


def failed_segment(
    job: SegmentJob,
    context: RunContext,
    error: str,
    trace: str | None = None,
    record: LedgerRow | None = None,
) -> Outcome:
    """Write a run's entries to the ledger as failed, and return how the run ended.

    See `studies.stages.job.failed_outcome`.
    """
    failed = {"status": "failed", "error": error, "traceback": trace}
    try:
        store = ArtifactStore(context.store)
        for scoring in job.scorings:
            row = {**(record or _record(job, UNCOUNTED)), **_identity(job, scoring), **failed}
            write_failure(store, context.results, "segmented", scoring.scores_key, row)
        if job.is_finished(store.has):
            return finished_segment(job, context, store)
    except Exception:
        return Outcome(JobStatus.FAILED, error, unrecorded=True)
    return Outcome(JobStatus.FAILED, error)


def _after_record(
    job: SegmentJob, context: RunContext, lease: Lease
) -> Callable[[FitRecord], None]:
    """Return what a training does after a record: say how far it is, or end.

    It ends without its lease, and where its rows were cancelled.
    """
    steps = job.fit.steps

    def on_record(record: FitRecord) -> None:
        if lease.lost:
            raise LeaseLostError
        end_if_cancelled(job, context)
        lease.report(f"step {record.step} of {steps}", record.seconds)

    return on_record


def _record(job: SegmentJob, share: WorkerShare) -> LedgerRow:
    """Return what is known of a run before it goes on."""
    return {
        "code_revision": environment.code_revision(),
        "package_version": environment.package_version(),
        **origin(job.settings),
        **share.as_record(environment.device_name(share.device)),
        "host": socket.gethostname(),
        "started_at": datetime.now(UTC),
        "settings": canonical(job.settings),
    }


def _of_training(outcome: SegmentOutcome) -> LedgerRow:
    """Return what is known of a run once its segmenter is trained, by whatever run it was."""
    history = outcome.history
    seconds = sum(record.seconds for record in history)
    return {
        **outcome.given,
        "code_digest": together([outcome.code_digest, method_digest()]),
        "seconds_training": seconds,
        "steps": history[-1].step if history else 0,
        "loss": history[-1].loss if history else None,
        "parameters": outcome.parameters,
        "micro_batch": history[-1].micro_batch if history else None,
        "images": outcome.images,
        "masks_trained": outcome.masks_trained,
        "masks_spent": outcome.masks_spent,
        "level": outcome.level,
    }


def _identity(job: SegmentJob, scoring: SegmentScoring) -> LedgerRow:
    """Return the columns of the table `segmented` that say which entry it is."""
    return {
        "scores_key": scoring.scores_key,
        "segment_key": job.key,
        "entry": scoring.entry,
        "seed": job.seed,
        "fold": job.images.fold,
    }
