"""A job's refinement chains: their tasks as lists, run in this process, and the chains' scores.

Tasks are the shards of each split, and the features that steps precompute from images alone.
"""

import logging
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from studies.formatting import error_line
from studies.planning import SCORED_SPLITS, Chain, Plan, Step, TrainingJob, Trial, shards
from studies.stages import environment
from studies.stages.failures import write_failure
from studies.stages.fused_maps import scores_under_chain
from studies.stages.handover import FailedChain, RunContext
from studies.stages.publishing import keep_scores, publish
from studies.stages.refinement import (
    ImageFeatureTask,
    ShardOutcome,
    chain_maps,
    make_image_features,
    refine_shard,
)
from studies.stages.scoring import LedgerRow, LedgerRows, NetworkScores, split_rows
from studies.store import ArtifactStore
from studies.store.origin import origin
from wsss_core.data.image_set import ImageSet

logger = logging.getLogger(__name__)


def shards_of(plan: Plan, store: ArtifactStore) -> dict[str, list[tuple[int, int]]]:
    """Return the shards of every scored split, by its fingerprint; images have to be decoded."""
    return {
        images.splits.fingerprints[split]: shards(len(images.splits.load(store, split).views))
        for images in plan.image_sets
        for split in SCORED_SPLITS
    }


def missing_image_features(plan: Plan, store: ArtifactStore) -> list[ImageFeatureTask]:
    """Return the features of images that steps need and the store lacks."""
    steps: dict[str, Step] = {}
    for chain in plan.runnable_chains:
        applied = [step.applied for step in chain.steps if step.needs_image_features]
        steps |= {repr(step.of_images_alone): step for step in applied}
    tasks = [
        ImageFeatureTask(step, images.splits, split, bounds)
        for images in (plan.image_sets if steps else [])
        for split in SCORED_SPLITS
        for bounds in shards(len(images.splits.load(store, split).views))
        for step in steps.values()
    ]
    return still_missing(tasks, store)


def still_missing(
    tasks: Sequence[ImageFeatureTask], store: ArtifactStore
) -> list[ImageFeatureTask]:
    """Return the tasks whose features nobody has made meanwhile."""
    return [task for task in tasks if not store.has("described", task.key)]


def try_image_features(task: ImageFeatureTask, store: ArtifactStore, device: str) -> str | None:
    """Do one of `missing_image_features`; return the error in a line if it cannot be done."""
    try:
        make_image_features(task, store, device)
    except Exception as error:
        images = f"images {task.bounds[0]} to {task.bounds[1]}"
        return f"step {task.step.kind}, {images}: {error_line(error)}"
    return None


def refine_job(
    job: TrainingJob,
    context: RunContext,
    store: ArtifactStore,
    shards_by_split: dict[str, list[tuple[int, int]]],
    unprepared: Sequence[FailedChain],
) -> tuple[FailedChain, ...]:
    """Refine and score a job in this process; return the chains that failed."""
    refined = [
        refine_shard(job, split, bounds, context, store, unprepared)
        for split in SCORED_SPLITS
        for bounds in shards_by_split[job.images.fingerprints[split]]
    ]
    return score_chains(job, context, store, refined)


def make_all_image_features(plan: Plan, store: ArtifactStore, device: str) -> None:
    """Do all `missing_image_features` in this process; log those that cannot be done."""
    for task in missing_image_features(plan, store):
        if (error := try_image_features(task, store, device)) is not None:
            logger.warning("  %s", error)


def score_chains(
    job: TrainingJob, context: RunContext, store: ArtifactStore, refined: Sequence[ShardOutcome]
) -> tuple[FailedChain, ...]:
    """Score a job's trials under every chain whose shards are all there.

    A chain that failed is written to the ledger as failed and tried again by a later run, unless
    another process has finished it.

    Args:
        job: the training run.
        context: its run.
        store: where the maps lie and the scores go.
        refined: how the chains ended over all shards of all splits.

    Returns:
        The chains that failed, each with the error of its first shard that failed.

    """
    errors: list[FailedChain] = []
    for chain in context.chains_of(job):
        failed = next((one.errors[chain.name] for one in refined if chain.name in one.errors), None)
        seconds = sum(one.seconds.get(chain.name, 0.0) for one in refined)
        rows: LedgerRows | None = None
        stands = False
        for trial in _refined_by(chain, job):
            key = trial.chains[chain.name]
            record = {**_record(trial, chain), "seconds": seconds}
            if failed is not None:
                about = {"status": "failed", "error": failed.error, "traceback": failed.traceback}
                row = {**record, **about}
                stands |= write_failure(store, context.results, "refined", key, row)
                continue
            if not store.has("scores", key):
                rows = rows or _rows(job, chain, context, store)
                sealed = {**rows, "refined": [{**record, "status": "ok"}]}
                named = {"trial_key": trial.key, "refinement": chain.name}
                keep_scores(store, job, key, sealed, named, context.rules)
            publish(store, key, context.results)
        if failed is not None and stands:
            errors.append(failed)
    return tuple(errors)


def record_collapsed(job: TrainingJob, context: RunContext, store: ArtifactStore) -> None:
    """Record of every chain of a collapsed job that there is nothing to refine."""
    for chain in context.chains_of(job):
        for trial in _refined_by(chain, job):
            key = trial.chains[chain.name]
            if not store.has("scores", key):
                row = {"status": "collapsed", "seconds": 0.0}
                keep_scores(store, job, key, {"refined": [row]}, _record(trial, chain))
            publish(store, key, context.results)


def _refined_by(chain: Chain, job: TrainingJob) -> list[Trial]:
    return [trial for trial in job.trials if chain.name in trial.chains]


def _rows(job: TrainingJob, chain: Chain, context: RunContext, store: ArtifactStore) -> LedgerRows:
    cam = context.cam

    def refined(split: str, images: ImageSet) -> dict[str, NetworkScores]:
        scoring = replace(cam, cam=chain.cam)
        maps = chain_maps(job, chain, split, images, store, cam.scaling)
        return {"student": scores_under_chain(job, split, images, store, scoring, maps)}

    return split_rows(job, store, cam, refined, plain=False)[0]


def _record(trial: Trial, chain: Chain) -> LedgerRow:
    return {
        "scores_key": trial.chains[chain.name],
        "trial_key": trial.key,
        "refinement": chain.name,
        "code_revision": environment.code_revision(),
        **origin([step.identity for step in chain.steps]),
        "host": socket.gethostname(),
        "ended_at": datetime.now(UTC),
    }
