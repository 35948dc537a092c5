"""The maps of frozen networks that a plan asks for, and the bytes that they take."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from studies.planning import (
    SCORED_SPLITS,
    MapView,
    Plan,
    TrainingJob,
    features_dtype,
    features_key,
    has_frozen_encoder,
    reads_frozen_teacher,
    reads_kept_maps,
    teacher_maps,
    training_views,
)
from studies.stages.features.making import STAGE
from studies.store import canonical


@dataclass(frozen=True)
class FeaturePrice:
    """Maps of a frozen network, which are made once and read by every trial.

    Attributes:
        network: the timm model.
        role: "encoder" or "teacher".
        dtype: the type that they are kept in.
        bytes_an_image: of one image in one view; None where the network would have to be built
            beside its training (a teacher).
        artifacts: how many there are at the plain scale: splits, views and, of networks with random
            parts and teachers, seeds.
        made: how many of them the store holds.

    """

    network: str
    role: str
    dtype: str
    bytes_an_image: int | None
    artifacts: int
    made: int


def price_features(plan: Plan, has: Callable[[str, str], bool]) -> list[FeaturePrice]:
    """Return the maps of frozen networks that a plan's training runs read.

    Nothing is listed of studies whose encoders all learn. A frozen encoder is built, with random
    weights, to see the shape of its map: about a second for each kind. Maps at other scales, which
    CAMs may ask for, are not counted.

    Args:
        plan: the plan.
        has: whether the store holds a stage's artifact.

    """
    if not reads_kept_maps(plan.jobs.values()):
        return []
    keys: dict[tuple[str, str, str], dict[str, None]] = {}
    built: dict[tuple[str, str, str], tuple[TrainingJob, str]] = {}
    for job in plan.jobs.values():
        for what, key, role in _wanted(job):
            keys.setdefault(what, {})[key] = None
            built.setdefault(what, (job, role))
    kinds = Counter(what[:2] for what in keys)
    prices = []
    for what, of_kind in keys.items():
        name = what[0] if kinds[what[:2]] == 1 else f"{what[0]} ({what[2][:200]})"
        size = _bytes(*built[what]) if what[1].startswith("encoder") else None
        role, _, dtype = what[1].partition(" ")
        made = sum(has(STAGE, key) for key in of_kind)
        prices.append(FeaturePrice(name, role, dtype, size, len(of_kind), made))
    return prices


def _wanted(job: TrainingJob) -> Iterable[tuple[tuple[str, str, str], str, str]]:
    """Yield (network, role and type, settings), key and role of the maps that a job reads."""
    if job.members:
        return  # it fuses maps of others and trains nothing
    views = training_views(job.settings) or []
    for role in ("student", *job.teacher_roles):
        if not has_frozen_encoder(job.settings[role]):
            continue
        if role not in job.trained_roles and not reads_frozen_teacher(job, role):
            continue
        backbone = job.settings[role]
        about = {k: v for k, v in backbone.items() if k in ("stage", "output_stride", "options")}
        what = backbone["model"], f"encoder {features_dtype(job)}", canonical(about)
        for view in views:
            yield what, features_key(job, role, "train", view), role
        for split in SCORED_SPLITS if role in job.trained_roles and job.trials else ():
            yield what, features_key(job, role, split, MapView(job.image_size)), role
    for role in job.parents:
        maps = None if reads_frozen_teacher(job, role) else teacher_maps(job)
        if maps is not None:
            what = job.settings[role]["model"], f"teacher {maps.dtype}", " ".join(maps.parts)
            for view in views:
                yield what, maps.key(job, view, role), role


def _bytes(job: TrainingJob, role: str) -> int:
    import torch

    from studies.stages.training import initial_network
    from wsss_core.backbones import evaluating

    network: Any = initial_network(job, role, "none")
    size = job.image_size
    with torch.no_grad(), evaluating(network):
        maps = network.encoder(torch.zeros(1, 3, size, size))
    return int(maps.numel() * np.dtype(features_dtype(job)).itemsize)
