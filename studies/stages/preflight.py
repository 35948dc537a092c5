"""Checks before anything is trained: folders, networks, images."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from reports.storage import Location, open_folder
from studies.planning import Plan, StudyImages, TrainingJob
from studies.stages.initial_weights import log_initial_weights
from studies.stages.training import build_paradigm, initial_network
from studies.store import ArtifactStore
from wsss_core.cams import CamSettings, check_cam
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, as_input_error, one_line
from wsss_core.transfer import Paradigm

logger = logging.getLogger(__name__)


def preflight(
    plan: Plan,
    pending: list[TrainingJob],
    store: ArtifactStore,
    results: Location,
) -> None:
    """Check all that is to run: folders, then networks with their weights, then every image.

    Quick checks come first. Corrupt artifacts that pending jobs build upon are taken out of the
    store, so that they are made again. The images are decoded into the store on the way.

    Raises:
        InputError: the first thing that cannot work.

    """
    open_folder(results, make=True)
    store.make()
    check_networks(pending, [plan.cam.cam, *(chain.cam for chain in plan.runnable_chains)])
    log_initial_weights(pending)
    quarantine_corrupt(plan, pending, store)
    for images in plan.image_sets:
        _check_images(images, store)


def quarantine_corrupt(plan: Plan, pending: list[TrainingJob], store: ArtifactStore) -> None:
    """Take networks and images out of the store whose checksums differ from their manifests.

    Each node checks an artifact of a remote store itself when it first reads it.
    """
    if store.remote:
        return
    networks = dict.fromkeys(key for job in pending for key in (job.parent, job.key) if key)
    inputs = [("train", key) for key in networks]
    inputs += [("images", key) for images in plan.image_sets for key in images.splits.keys.values()]
    for stage, key in inputs:
        if store.has(stage, key) and (problems := store.problems(stage, key)):
            store.quarantine(stage, key)
            logger.warning(
                "%s/%s is corrupt (%s); it was quarantined and is made again",
                stage,
                key,
                problems[0],
            )


def _check_images(images: StudyImages, store: ArtifactStore) -> None:
    """Decode what the store lacks of a data set; raise unless every split holds every class."""
    began = time.perf_counter()
    made = images.decode(store)
    if made:
        took = time.perf_counter() - began
        logger.info("images: %s checked and decoded in %.1f s", ", ".join(made), took)
    for split in SPLITS:
        decoded = images.splits.load(store, split)
        for number, name in enumerate(decoded.classes):
            if not decoded.labels[:, number].any():
                raise InputError(f"{split}: no image holds class {name!r}, expected at least one")


def check_networks(pending: list[TrainingJob], cams: Sequence[CamSettings] = ()) -> None:
    """Build and try every network and alignment once, and every way of making its CAMs.

    A stage that a CNN lacks, weights whose shapes do not fit or maps that do not meet are named
    here, not after the first teacher.
    """
    seen: set[str] = set()
    for job in pending:
        alike = replace(job, settings={**job.settings, "seed": 0})
        if (signature := repr({**alike.settings, "training": None})) in seen:
            continue
        seen.add(signature)
        teacher = None
        with as_input_error(job.name, InputError):
            if job.paradigm == "teacher-student":
                teacher = initial_network(alike, "teacher", job.weights["teacher"])
            paradigm = build_paradigm(alike, teacher)
            _try_two_images(paradigm, job)
            for cam in cams if job.trials else ():
                student: Any = paradigm.networks["student"]
                check_cam(student, cam, job.image_size)


def _try_two_images(paradigm: Paradigm, job: TrainingJob) -> None:
    """Run every network and the loss on black images; raise if anything does not fit."""
    size, classes = job.image_size, len(job.classes)
    try:
        with torch.no_grad():
            paradigm.eval().losses(torch.zeros(2, 3, size, size), torch.zeros(2, classes))
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        said = one_line(error)
        raise InputError(f"its networks cannot take images of {size} px: {said}") from error
