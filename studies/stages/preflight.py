"""What can be known to fail is found before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from reports.storage.locations import Location
from reports.storage.opening import open_folder
from studies.planning.images import StudyImages
from studies.planning.plan import Plan, Unit
from studies.stages.training import build_paradigm, initial_network
from studies.store.artifacts import ArtifactStore
from wsss_core.cams import CamSettings, check_cam
from wsss_core.data.image_set import SPLITS
from wsss_core.errors import InputError, one_line
from wsss_core.transfer import Paradigm


def preflight(
    plan: Plan,
    pending: list[Unit],
    store: ArtifactStore,
    results: Location,
    say: Callable[[str], None] = print,
) -> None:
    """Check all that is to run: folders, then networks with their weights, then every image.

    What is quick to check comes first. What pending units build upon and is damaged is set aside,
    so that it is made again. The images are decoded into the store on the way.

    Raises:
        InputError: the first thing that cannot work.

    """
    open_folder(results, make=True)
    store.make()
    cams = [chain.cam for chain in plan.runnable_chains]
    check_networks(pending, [plan.cam_settings.get("cam"), *cams])
    set_damaged_aside(plan, pending, store, say)
    for images in plan.image_sets:
        _check_images(images, store, say)


def set_damaged_aside(
    plan: Plan, pending: list[Unit], store: ArtifactStore, say: Callable[[str], None] = print
) -> None:
    """Compare the checksums of the networks and images that units build upon with their manifests.

    Of a remote store each node does so when it first reads an artifact.
    """
    if store.remote:
        return
    networks = dict.fromkeys(key for unit in pending for key in (unit.parent, unit.key) if key)
    inputs = [("train", key) for key in networks]
    inputs += [("images", images.key(split)) for images in plan.image_sets for split in SPLITS]
    for stage, key in inputs:
        if store.has(stage, key) and (problems := store.problems(stage, key)):
            store.quarantine(stage, key)
            say(f"{stage}/{key} is damaged ({problems[0]}); it was set aside and is made again")


def _check_images(images: StudyImages, store: ArtifactStore, say: Callable[[str], None]) -> None:
    """Decode what the store lacks of a data set; every class has to occur in every split."""
    began = time.perf_counter()
    made = images.decode(store)
    if made:
        say(f"images: {', '.join(made)} checked and decoded in {time.perf_counter() - began:.1f} s")
    for split in SPLITS:
        decoded = images.load(store, split)
        for number, name in enumerate(decoded.classes):
            if not decoded.labels[:, number].any():
                raise InputError(f"{split}: no image holds class {name!r}, expected at least one")


def check_networks(pending: list[Unit], cams: Sequence[dict[str, Any] | None] = ()) -> None:
    """Build and try every network and alignment once, and every way of making its CAMs.

    A stage that a CNN lacks, weights whose shapes do not fit or maps that do not meet are named
    here, not after the first teacher.
    """
    seen: set[str] = set()
    for unit in pending:
        settings = {**unit.settings, "seed": 0}
        if (signature := repr({**settings, "training": None})) in seen:
            continue
        seen.add(signature)
        teacher = None
        try:
            if settings["paradigm"] == "teacher-student":
                teacher = initial_network(settings, "teacher", unit.weights["teacher"])
            paradigm = build_paradigm(settings, unit.weights, teacher)
            _try_two_images(paradigm, settings)
            for cam in cams if unit.trials else ():
                student: Any = paradigm.networks["student"]
                check_cam(student, CamSettings(**(cam or {})), settings["image_size"])
        except InputError as error:
            raise InputError(f"{unit.name}: {error}") from error


def _try_two_images(paradigm: Paradigm, settings: dict[str, Any]) -> None:
    """Take black images through every network and the loss: what does not fit shows here."""
    size, classes = settings["image_size"], len(settings["classes"])
    try:
        with torch.no_grad():
            paradigm.eval().losses(torch.zeros(2, 3, size, size), torch.zeros(2, classes))
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        said = one_line(error)
        raise InputError(f"its networks cannot take images of {size} px: {said}") from error
