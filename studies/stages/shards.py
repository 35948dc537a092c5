"""The work of refinement as a list: which shards there are, and a unit's in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from studies.formatting import error_line
from studies.planning.chains import Step, shards
from studies.planning.images import SCORED_SPLITS
from studies.planning.plan import Plan
from studies.stages.chain_scores import score_chains
from studies.stages.refinement import (
    Description,
    ShardOutcome,
    Unprepared,
    describe_shard,
    refine_shard,
)
from studies.store.artifacts import ArtifactStore


def shards_of(plan: Plan, store: ArtifactStore) -> dict[str, list[tuple[int, int]]]:
    """The shards of every scored split, by its fingerprint; the images have to be decoded."""
    return {
        images.fingerprints[split]: shards(len(images.load(store, split)))
        for images in plan.image_sets
        for split in SCORED_SPLITS
    }


def descriptions(plan: Plan, store: ArtifactStore) -> list[Description]:
    """What steps have to see of images alone and the store lacks."""
    steps: dict[str, Step] = {}
    for chain in plan.runnable_chains:
        steps |= {repr(step.identity): step for step in chain.steps if step.describes_images}
    found = []
    for images in plan.image_sets if steps else []:
        for split in SCORED_SPLITS:
            for bounds in shards(len(images.load(store, split))):
                for step in steps.values():
                    data = images.fingerprints[split]
                    work = Description(step, images.key(split), images.size, data, bounds)
                    if not store.has("described", work.key):
                        found.append(work)
    return found


def missing(works: Iterable[Description], store: ArtifactStore) -> list[Description]:
    """Those of several descriptions that nobody has made meanwhile."""
    return [work for work in works if not store.has("described", work.key)]


def describe(work: Description, store: ArtifactStore, device: str) -> str | None:
    """Do one of `descriptions`; the error in a line if it cannot be done."""
    try:
        describe_shard(work, store, device)
    except Exception as error:
        images = f"images {work.bounds[0]} to {work.bounds[1]}"
        return f"step {work.step.kind}, {images}: {error_line(error)}"
    return None


def refine_unit(
    unit: dict[str, Any],
    context: dict[str, Any],
    store: ArtifactStore,
    shards_by_split: dict[str, list[tuple[int, int]]],
    unprepared: Unprepared,
) -> dict[str, str]:
    """Refine and score a unit in this process; the errors by chain."""
    walked: list[ShardOutcome] = [
        refine_shard(unit, split, bounds, context, store, unprepared)
        for split in SCORED_SPLITS
        for bounds in shards_by_split[unit["fingerprints"][split]]
    ]
    return score_chains(unit, context, store, walked)


def describe_all(plan: Plan, store: ArtifactStore, device: str, say: Callable[[str], None]) -> None:
    """Do all `descriptions` in this process."""
    for work in descriptions(plan, store):
        if (error := describe(work, store, device)) is not None:
            say(f"  {error}")
