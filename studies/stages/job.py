"""What a worker does with one job: train it, score its trials, write them to the ledger.

Nothing here knows Ray: `run_job` can be called in a debugger.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

from reports.ledger.parts import read_table
from reports.storage import StorageError
from studies.planning import (
    SCORED_SPLITS,
    Job,
    SegmentJob,
    TrainingJob,
    Trial,
)
from studies.stages import environment
from studies.stages.chain_scores import record_collapsed
from studies.stages.device import UNCOUNTED, WorkerShare, use_share
from studies.stages.failures import (
    LeasedWork,
    LeaseLostError,
    end_if_cancelled,
    gpu_failed,
    work_under_lease,
    write_failure,
)
from studies.stages.fused_maps import fuse_job, row_scores
from studies.stages.handover import JobStatus, Outcome, RunContext
from studies.stages.publishing import keep_scores, publish
from studies.stages.reasons import measure_job
from studies.stages.refinement import prepare_chains
from studies.stages.scoring import (
    LedgerRow,
    LedgerRows,
    NetworkScores,
    fused,
    network_scores,
    split_rows,
)
from studies.stages.segmentation.decoupling import decoupled_views
from studies.stages.segmentation.job import SegmentWork, failed_segment, finished_segment
from studies.stages.segmentation.target_masks import mask_targets
from studies.stages.training import TrainingOutcome, train_job
from studies.store import ArtifactStore, Lease, canonical
from studies.store.origin import method_digest, origin, together
from wsss_core.data.image_set import ImageSet
from wsss_core.training import CollapseError, EpochRecord


def run_job(job: Job, context: RunContext, share: WorkerShare) -> Outcome:
    """Train a job's networks and score them; what the store holds is not made again.

    The job's lease is held meanwhile. An error of the job ends in the ledger as failed trials, with
    its traceback, and is returned: the other trials of the study go on.

    Args:
        job: the training run and its trials, or the segmentation run.
        context: its run.
        share: what this process has of the machine.

    """
    if isinstance(job, SegmentJob):
        return work_under_lease(SegmentWork, job, context, share)
    return work_under_lease(_Work, job, context, share)


def run_with_share(job: Job, context: RunContext, request: Mapping[str, float]) -> Outcome:
    """Hold this process to its share of the machine, then see `run_job`.

    A GPU that cannot be used is an outcome.

    Args:
        job: the job.
        context: its run.
        request: what was asked of Ray for it, see `use_share`.

    """
    try:
        share = use_share(request, simulated=context.simulated_gpus)
    except (RuntimeError, AssertionError) as error:
        return Outcome(JobStatus.GPU_FAILED, gpu_failed(error))
    if share.device == "cpu":
        return run_job(job, context, share)
    trains = False  # what scoring alone takes says nothing of training
    with contextlib.suppress(StorageError):  # the job says so
        trains = not ArtifactStore(context.store).has("train", job.key)
    outcome = run_job(job, context, share)
    if not (trains and outcome.has_result):
        return outcome
    return replace(outcome, gpu_memory=environment.gpu_memory(share.device))


def finished_job(job: Job, context: RunContext, store: ArtifactStore) -> Outcome:
    """Bring a job that others have finished to this run's ledger; return how it ended."""
    if isinstance(job, SegmentJob):
        return finished_segment(job, context, store)
    for key in job.score_keys():
        publish(store, key, context.results)
    if not job.trials:
        found = TrainingOutcome.read(store, job.key)
        return Outcome(found.status, found.error)
    # A job that was trained well may have collapsed when it was scored.
    keys, columns = [job.trials[0].key], ["status", "error"]
    row = read_table(context.results, "trials", keys=keys, columns=columns).iloc[0]
    return Outcome(JobStatus(row["status"]), row["error"])


def failed_outcome(
    job: Job,
    context: RunContext,
    error: str,
    trace: str | None = None,
    record: LedgerRow | None = None,
) -> Outcome:
    """Write a job's trials to the ledger as failed, and return how the job ended.

    A later run tries them again. A trial whose scores are in the store keeps them; where another
    process has finished the whole job, it has ended as it did there.

    Args:
        job: the training run that failed.
        context: its run.
        error: why, in a line.
        trace: where the error was raised.
        record: what is known of the trials already.

    """
    if isinstance(job, SegmentJob):
        return failed_segment(job, context, error, trace, record)
    failed = {"status": "failed", "error": error, "traceback": trace}
    try:
        store = ArtifactStore(context.store)
        for trial in job.trials:
            row = {**(record or _record(job, context, UNCOUNTED)), **_identity(trial), **failed}
            write_failure(store, context.results, "trials", trial.key, row)
        if job.is_finished(store.has):
            return finished_job(job, context, store)
    except Exception:
        return Outcome(JobStatus.FAILED, error, unrecorded=True)
    return Outcome(JobStatus.FAILED, error)


class _Work(LeasedWork):
    """A training run under its lease."""

    @property
    def job(self) -> TrainingJob:
        """The training run."""
        assert isinstance(self._job, TrainingJob)
        return self._job

    def record(self) -> LedgerRow:
        """See `LeasedWork`."""
        return _record(self.job, self.context, self.share)

    def done(self, record: LedgerRow) -> Outcome:
        """See `LeasedWork`."""
        job, context, store = self.job, self.context, self.store
        status, error = self._train_and_score(record)
        for trial in job.trials:
            publish(store, trial.key, context.results)
        measure_job(job, context, store, self._scores, self.share.device, status)
        if status is not JobStatus.OK:
            record_collapsed(job, context, store)
        elif job.trials:  # a teacher that no row reports has no chains
            unprepared = prepare_chains(job, context, store, self.share.device)
            return Outcome(status, error, unprepared=unprepared)
        return Outcome(status, error)

    def failed(self, error: str, trace: str, record: LedgerRow) -> Outcome:
        """See `LeasedWork`."""
        return failed_outcome(self.job, self.context, error, trace, record)

    def _train_and_score(self, record: LedgerRow) -> tuple[JobStatus, str | None]:
        job, store = self.job, self.store
        memory = environment.PeakMemory(self.share.device)
        outcome = self._outcome()
        self.lease.report("scoring")
        seconds = outcome.seconds
        epochs = len(outcome.history)
        taken = job.images_taken(outcome.images, epochs)
        status, error = outcome.status, outcome.error
        record = {
            **record,
            "seconds_training": seconds,
            "seconds_before": outcome.seconds_before,
            "images_per_second": taken / seconds if epochs else None,
            "epochs": epochs,
            "parameters": outcome.parameters,
            "micro_batch": outcome.micro_batch,
            # Of the training, which may have been another run's.
            **outcome.given,
            "code_digest": together([outcome.code_digest, method_digest()]),
        }
        for trial in job.trials:
            if store.has("scores", trial.key):
                continue
            started = time.perf_counter()
            rows: LedgerRows = {}
            if status is JobStatus.OK:
                try:
                    rows, collapse = split_rows(job, store, self.context.cam, self._scores)
                except CollapseError as not_finite:
                    collapse = str(not_finite)
                if collapse is not None:
                    # A result with its numbers: whatever could be scored is kept.
                    status, error = JobStatus.COLLAPSED, collapse
            rows["history"] = [_history_row(epoch) for epoch in outcome.history]
            rows["trials"] = [
                {
                    **record,
                    **_identity(trial),
                    "status": str(status),
                    "error": error,
                    "seconds_scoring": time.perf_counter() - started,
                    "peak_memory_bytes": memory.bytes(),
                }
            ]
            keep_scores(store, job, trial.key, rows, {"trial_key": trial.key}, self.context.rules)
        return status, error

    def _outcome(self) -> TrainingOutcome:
        """Train the job's networks, or take those of its members."""
        job, store = self.job, self.store
        if job.members:
            return fuse_job(job, store, self.share)
        images = job.images.load(store, "train")
        on_epoch = _after_epoch(job, self.context, self.lease)
        device = self.share.device
        views = decoupled_views(job, self.context, images, store, device)
        targets = partial(mask_targets, job, self.context, images, store, device)
        return train_job(
            job, images, store, self.share, on_epoch=on_epoch, more_views=views, targets=targets
        )

    def _scores(self, split: str, images: ImageSet) -> dict[str, NetworkScores]:
        """Return each network's scores of a split; after co-training those of their fusion too."""
        if self.job.members:
            share, cam = self.share, self.context.cam
            return {"student": row_scores(self.job, split, images, self.store, share.device, cam)}
        found = {
            role: network_scores(
                self.job, role, split, images, self.store, self.share.device, self.context.cam
            )
            for role in self.job.trained_roles
        }
        return found if len(found) == 1 else {**found, "fused": fused(list(found.values()))}


def _after_epoch(
    job: TrainingJob, context: RunContext, lease: Lease
) -> Callable[[EpochRecord], None]:
    """Return what a training does after each epoch: say how far it is, or end.

    It ends without its lease, and where its rows were cancelled.
    """
    epochs = job.settings["training"]["epochs"]

    def on_epoch(epoch: EpochRecord) -> None:
        if lease.lost:
            raise LeaseLostError
        end_if_cancelled(job, context)
        lease.report(f"epoch {epoch.epoch + 1} of {epochs}", epoch.seconds)

    return on_epoch


def _record(job: TrainingJob, context: RunContext, share: WorkerShare) -> LedgerRow:
    """Return what is known of a job's trials before they run."""
    fingerprints = job.images.fingerprints
    return {
        "code_revision": environment.code_revision(),
        "package_version": environment.package_version(),
        **origin([*(one.settings for one in (job, *job.members)), context.cam.as_settings()]),
        **share.as_record(environment.device_name(share.device)),
        "host": socket.gethostname(),
        "started_at": datetime.now(UTC),
        "train_fingerprint": fingerprints["train"],
        "evaluation_fingerprint": "-".join(fingerprints[split] for split in SCORED_SPLITS),
        "settings": canonical({**job.settings, "cam": context.cam.as_settings()}),
    }


def _identity(trial: Trial) -> LedgerRow:
    """Return the columns of the `trials` table that say which trial it is."""
    return {
        "trial_key": trial.key,
        "configuration": trial.configuration,
        "seed": trial.seed,
        "fold": trial.fold,
    }


def _history_row(epoch: EpochRecord) -> LedgerRow:
    return {name: value for name, value in asdict(epoch).items() if name != "micro_batch"}
