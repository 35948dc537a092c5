"""Jobs that train nothing: rows that are fused of networks which other jobs train."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studies.planning.job import TrainingJob
from studies.spec.configuration import FUSED, SOUP, Configuration, Fusion
from studies.spec.resources import Demand
from studies.store import stage_key
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.planning.planner import Planner


def seed_blocks(seeds: Sequence[int], size: int) -> dict[int, list[int]]:
    """Return the blocks of an ensemble over seeds, each by its first seed.

    Blocks are disjoint. Seeds that fill no block take no part.

    >>> seed_blocks([0, 1, 2, 3, 4], 2)
    {0: [0, 1], 2: [2, 3]}
    """
    whole = len(seeds) - len(seeds) % size
    blocks = (list(seeds[start : start + size]) for start in range(0, whole, size))
    return {block[0]: block for block in blocks}


def trial_seeds(configuration: Configuration, seeds: Sequence[int]) -> list[int]:
    """Return the seeds under which a configuration has a trial."""
    fuse = configuration.fuse
    return list(seeds) if fuse is None else list(seed_blocks(seeds, fuse.seeds))


def fused_job(planner: "Planner", configuration: Configuration, seed: int) -> TrainingJob:
    """Return the job that fuses the networks of a row under a seed; plan theirs before it.

    Args:
        planner: plans the networks' training runs.
        configuration: a configuration with `fuse`.
        seed: the first seed of a block.

    Raises:
        InputError: two rows that are one training run.

    """
    fuse, study = configuration.fuse, planner.study
    assert fuse is not None
    named = [
        (name, planner.job(member, of_block))
        for of_block in seed_blocks(study.planned_seeds, fuse.seeds)[seed]
        for name, member in study.members(configuration)
    ]
    names: dict[str, str] = {}
    for name, job in named:
        if (other := names.setdefault(job.key, name)) != name:
            raise InputError(
                f"fuse: {other!r} and {name!r} are one training run; a network is fused with others"
            )
    members = tuple(job for _, job in named)
    return TrainingJob(
        *_key_and_settings(planner, fuse, members, seed),
        planner.images.splits,
        members=members,
        resources=_demand(planner, configuration),
    )


def _key_and_settings(
    planner: "Planner", fuse: Fusion, members: Sequence[TrainingJob], seed: int
) -> tuple[str, dict[str, Any]]:
    settings: dict[str, Any] = {
        "paradigm": FUSED,
        "how": fuse.how,
        "seed": seed,
        "classes": list(planner.images.source.classes),
        "image_size": planner.images.splits.size,
    }
    if fuse.how == SOUP:
        # The network that the averaged weights are put into; it starts from no file.
        settings["student"] = {**members[0].settings["student"], "weights": "none"}
    elif fuse.scores != "logits":
        settings["scores"] = fuse.scores
    parents = [member.key for member in members]
    data = [planner.images.splits.fingerprints["train"]]
    key = stage_key("train", settings, parents=parents, data=data)
    return key, {**settings, "members": parents}


def _demand(planner: "Planner", configuration: Configuration) -> Demand:
    """Return what a fusion asks for: stored maps need no GPU, a soup makes its own."""
    asked = planner.study.resources.demand(FUSED, configuration.resources)
    fuse = configuration.fuse
    if fuse is None or fuse.how == SOUP or configuration.resources.gpus is not None:
        return asked
    return replace(asked, gpus=0.0)
