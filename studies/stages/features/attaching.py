"""What a training run and its CAMs read in place of asking a frozen network."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from studies.planning import (
    MapView,
    TeacherMaps,
    TrainingJob,
    features_dtype,
    features_key,
    has_frozen_encoder,
    reads_frozen_teacher,
    teacher_maps,
    training_views,
)
from studies.stages.features.making import STAGE, FeatureArtifact, make_missing
from studies.store import ArtifactStore
from wsss_core.backbones import Network
from wsss_core.cams import CamSettings, RawScores
from wsss_core.features import (
    FEATURES_FILE,
    FeatureCache,
    OutputCache,
    StoredOutputs,
    ViewStack,
    cam_views,
    cams_from_features,
    make_features,
    make_outputs,
    read_outputs,
)
from wsss_core.training import TrainingSettings
from wsss_core.transfer import Paradigm, SeveralTeachers


def attach_caches(
    paradigm: Paradigm, job: TrainingJob, images: np.ndarray, store: ArtifactStore, device: str
) -> None:
    """Let a paradigm read the maps of its frozen networks, which are made if the store lacks them.

    Nothing is changed where views are drawn continuously.

    Args:
        paradigm: of the job, before its training.
        job: the training run.
        images: its training images, uint8 [N, S, S, 3].
        store: where the maps lie.
        device: where the paradigm is trained.

    Raises:
        InputError: maps that are not finite, or beyond the type that they are kept in.

    """
    views = training_views(job.settings)
    if views is None:
        return
    caches: list[Any] = []
    asked = set(paradigm.networks)
    networks = _networks(paradigm, job)
    for role, network in networks.items():
        learns = role in paradigm.networks
        if not has_frozen_encoder(job.settings[role]):
            continue
        if not learns and not reads_frozen_teacher(job, role):
            continue
        maps = stored_features(job, role, "train", network, images, store, views, device)
        network.cache = FeatureCache(ViewStack(maps, device))
        average = getattr(paradigm, "average", None)
        if role == "teacher" and average is not None:
            average.cache = network.cache
        caches.append(network.cache)
        asked.discard(role)
    for place, role in enumerate(job.parents):
        if reads_frozen_teacher(job, role):
            continue
        found = _stored_answers(networks[role], role, job, images, store, views, device)
        if found is None:
            asked.add(role)
            continue
        answers = OutputCache(found, device)
        if isinstance(paradigm, SeveralTeachers):
            paradigm.asked_before[place] = answers
        else:
            paradigm.asked_before = answers  # type: ignore[assignment]
        caches.append(answers)
    paradigm.caches, paradigm.needs_images = caches, bool(asked)


def _networks(paradigm: Any, job: TrainingJob) -> dict[str, Any]:
    """Return the networks of a paradigm by their roles in the job's settings."""
    teachers = getattr(paradigm, "teachers", [getattr(paradigm, "teacher", None)])
    found = zip(("student", *job.teacher_roles), [paradigm.student, *teachers], strict=False)
    return {role: network for role, network in found if network is not None}


def stored_features(
    job: TrainingJob,
    role: str,
    split: str,
    network: Network,
    images: np.ndarray,
    store: ArtifactStore,
    views: Sequence[MapView],
    device: str,
) -> list[np.ndarray]:
    """Return a frozen encoder's maps of a split, memory-mapped [N, C, h, w] for each view.

    Args:
        job: the training run.
        role: which of its networks.
        split: the split's name.
        network: that network.
        images: the split's images.
        store: where the maps lie, or go.
        views: the views.
        device: where they are made.

    """
    dtype = features_dtype(job)
    wanted = []
    for view in views:

        def make(folder: Path, view: MapView) -> None:
            make_features(
                network,
                images,
                folder / FEATURES_FILE,
                side=view.side,
                mirrored=view.mirrored,
                dtype=dtype,
                device=device,
            )

        about = {
            "what": f"{job.settings[role]['model']}, {split}, {view}",
            "images": job.images.key(split),
        }
        key = features_key(job, role, split, view)
        wanted.append(FeatureArtifact(key, about, partial(make, view=view)))
    make_missing(store, wanted)
    found = []
    for one in wanted:
        with store.reading(STAGE, one.key) as folder:
            found.append(np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False))
    return found


def _stored_answers(
    teacher: Any,
    role: str,
    job: TrainingJob,
    images: np.ndarray,
    store: ArtifactStore,
    views: Sequence[MapView],
    device: str,
) -> list[StoredOutputs] | None:
    """Return a frozen teacher's answers in each view; None where it is asked itself."""
    maps = teacher_maps(job)
    if maps is None:
        return None
    training = TrainingSettings.from_config(**job.settings["training"])

    def make(folder: Path, view: MapView, maps: TeacherMaps) -> None:
        make_outputs(
            teacher,
            images,
            folder,
            mirrored=view.mirrored,
            taps=maps.taps,
            parts=maps.parts,
            batch_size=maps.batch_size,
            dtype=maps.dtype,
            autocast=training.autocasts(device),
            device=device,
        )

    wanted = [
        FeatureArtifact(
            maps.key(job, view, role),
            {
                "what": f"teacher {job.settings[role]['model']}, train, {view}",
                "parent": job.parents[role],
            },
            partial(make, view=view, maps=maps),
        )
        for view in views
    ]
    make_missing(store, wanted)
    found = []
    for one in wanted:
        with store.reading(STAGE, one.key) as folder:
            found.append(read_outputs(folder))
    kept = all(set(one.arrays) >= set(maps.parts) for one in found)
    return found if kept else None


def cams_of_stored_features(
    job: TrainingJob,
    role: str,
    split: str,
    network: Network,
    images: np.ndarray,
    store: ArtifactStore,
    device: str,
    cam: CamSettings,
) -> RawScores | None:
    """Return a trained network's CAMs from its frozen encoder's maps; None where it has none.

    Methods other than class_weight look into the encoder and are computed from the images.

    Args:
        job: the training run of the network.
        role: which of its networks.
        split: the split's name.
        network: the network.
        images: the split's images, uint8 [N, S, S, 3].
        store: where the maps lie, or go.
        device: where all is computed.
        cam: how the CAMs are made.

    """
    frozen = has_frozen_encoder(job.settings[role]) and not job.members  # whose mean is another
    if cam.method != "class_weight" or not frozen:
        return None
    views = [MapView(*view) for view in cam_views(network, job.image_size, cam)]
    maps = stored_features(job, role, split, network, images, store, views, device)
    by_view = {(v.side, v.mirrored): array for v, array in zip(views, maps, strict=True)}
    return cams_from_features(network, by_view, job.image_size, cam, device=device)
