"""The shards and image features of refinement as lists, and a job's refinement in this process."""

import logging
from collections.abc import Sequence

from studies.formatting import error_line
from studies.planning import SCORED_SPLITS, Plan, Step, TrainingJob, shards
from studies.stages.chain_scores import score_chains
from studies.stages.context import RunContext
from studies.stages.outcome import FailedChain
from studies.stages.refinement import ImageFeatureTask, make_image_features, refine_shard
from studies.store import ArtifactStore

logger = logging.getLogger(__name__)


def shards_of(plan: Plan, store: ArtifactStore) -> dict[str, list[tuple[int, int]]]:
    """Return the shards of every scored split, by its fingerprint; images have to be decoded."""
    return {
        images.splits.fingerprints[split]: shards(len(images.splits.load(store, split)))
        for images in plan.image_sets
        for split in SCORED_SPLITS
    }


def missing_image_features(plan: Plan, store: ArtifactStore) -> list[ImageFeatureTask]:
    """Return the features of images that steps need and the store lacks."""
    steps: dict[str, Step] = {}
    for chain in plan.runnable_chains:
        steps |= {repr(step.identity): step for step in chain.steps if step.needs_image_features}
    tasks = [
        ImageFeatureTask(step, images.splits, split, bounds)
        for images in (plan.image_sets if steps else [])
        for split in SCORED_SPLITS
        for bounds in shards(len(images.splits.load(store, split)))
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
) -> dict[str, str]:
    """Refine and score a job in this process; return the errors by chain."""
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
