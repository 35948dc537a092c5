"""Rows that train nothing: the maps of networks that other jobs have trained, as one.

Plain CAMs are fused at the resolution of each mask, as the two networks of a co-trained row are.
Chains begin with maps that are fused at the finest of the members' grids. The logit of a class is
the mean of the members' logits, or that of their mean probability; gating goes by it. A step that
learns from a network takes the first member's.
"""

from dataclasses import replace
from typing import cast

import numpy as np

from studies.planning import CamScoring, MapScaling, TrainingJob
from studies.stages.cams import base_scores, network_maps, normalised_maps
from studies.stages.device import UNCOUNTED, WorkerShare
from studies.stages.environment import device_name
from studies.stages.handover import JobStatus
from studies.stages.network_files import save_network
from studies.stages.scoring import NetworkScores, collapse_of_maps, fused, network_scores
from studies.stages.training import (
    TrainingOutcome,
    initial_network,
    load_network,
    seconds_by_run,
)
from studies.store import ArtifactStore
from studies.store.origin import method_digest, origin, together
from wsss_core.backbones import Network
from wsss_core.cams import CamSettings
from wsss_core.data.image_set import ImageSet
from wsss_core.evaluate import LogitFusion, MapFusion, fuse_logits, fuse_maps, resize
from wsss_core.evaluate.map_fusion import STRETCHED
from wsss_core.tiling import normalise_windows
from wsss_core.training import CollapseError, average_weights


def member_name(member: TrainingJob) -> str:
    """Return what messages call a network of a fused row."""
    return f"{member.settings['student']['model']}, {member.paradigm}, seed {member.pair}"


def fuse_job(
    job: TrainingJob, store: ArtifactStore, share: WorkerShare = UNCOUNTED
) -> TrainingOutcome:
    """Return how a job that trains nothing begins: with its members' networks, or their average.

    The artifact holds the outcome, and of a soup its network.

    Raises:
        RuntimeError: the training run of a member failed.

    """
    if store.has("train", job.key):
        return TrainingOutcome.read(store, job.key)
    ended: list[TrainingOutcome] = []
    error = None
    for member in job.members:
        if not store.has("train", member.key):
            raise RuntimeError(
                f"its member {member_name(member)} is not trained: that training run failed"
            )
        ended.append(TrainingOutcome.read(store, member.key))
        if error is None and ended[-1].status is not JobStatus.OK:
            error = f"its member {member_name(member)} collapsed: {ended[-1].error}"
    made = origin([member.settings for member in job.members])
    made["code_digest"] = together([*(one.code_digest for one in ended), method_digest()])
    soup = None
    if error is None and not job.fuses_maps:
        networks = (load_network(store, member, "student") for member in job.members)
        soup = average_weights(initial_network(job, "student", "none"), networks)
    outcome = TrainingOutcome(
        status=JobStatus.OK if error is None else JobStatus.COLLAPSED,
        error=error,
        history=[],
        images=0,
        parameters=sum(one.parameters for one in ended)
        if soup is None
        else sum(parameter.numel() for parameter in soup.parameters()),
        given={**share.as_record(device_name(share.device)), **made},
        micro_batch=None,
        before=seconds_by_run(
            {member.key: one for member, one in zip(job.members, ended, strict=True)}
        ),
    )
    with store.build("train", job.key, {"settings": job.settings, "parent": None}) as folder:
        if soup is not None:
            save_network(soup, folder / "student.safetensors")
        outcome.write(folder)
    return outcome


def row_scores(
    job: TrainingJob,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    device: str,
    scoring: CamScoring,
) -> NetworkScores:
    """Return the scores of a row without training under some CAM settings.

    Raises:
        CollapseError: a member collapsed: its scores are not finite or say nothing.

    """
    found = []
    for member in job.sources:
        scores = network_scores(member, "student", split, images, store, device, scoring)
        if member is not job and (reason := collapse_of_maps(scores, scoring.gating)):
            raise CollapseError(f"its member {member_name(member)} collapsed: {reason}", [])
        found.append(scores)
    return found[0] if len(found) == 1 else fused(found, _how(job), _by(job))


def keep_maps(
    job: TrainingJob,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    device: str,
    cam: CamSettings,
) -> None:
    """Make the raw maps of a split that a job's chains begin with, unless the store holds them."""
    for source in job.sources:
        network_maps(source, "student", split, images, store, device, cam)


def first_maps(
    job: TrainingJob,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    device: str,
    cam: CamSettings,
    scaling: MapScaling,
    bounds: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return what a job's chains begin with: scores of 0 to 1, float32 [n, K, h, w].

    Args:
        job: the training run, or the job that fuses others.
        split: the split's name.
        images: the split's images.
        store: where maps and networks lie.
        device: where maps are made that the store lacks.
        cam: how they are made.
        scaling: how raw maps become scores.
        bounds: of the images that are wanted; None: all.

    """
    raws = [network_maps(one, "student", split, images, store, device, cam) for one in job.sources]
    if not job.fuses_maps:
        return base_scores(raws[0], cam, scaling, bounds)
    windows = raws[0].windows
    if bounds is not None and windows is None:  # windows of an image depend on each other
        raws, bounds = [raw.part(*bounds) for raw in raws], None
    members = [normalised_maps(raw, cam, scaling.normalisation) for raw in raws]
    height, width = max((maps.shape[-2:] for maps in members), key=lambda grid: grid[0] * grid[1])
    resized = [resize(maps, (height, width)) for maps in members]
    if windows is None:
        scores = fuse_maps(resized, _how(job), scaling.normalisation)
    else:
        scores = fuse_maps(resized, _how(job), "sigmoid")  # by itself no window is stretched
        if _how(job) in STRETCHED and scaling.normalisation != "sigmoid":
            scores = normalise_windows(scores, windows, scaling.normalisation)
    if scaling.gating == "predicted":
        scores[fuse_logits([raw.view_logits for raw in raws], _by(job)) <= 0] = 0
    return scores if bounds is None else scores[slice(*bounds)]


def scores_under_chain(
    job: TrainingJob,
    split: str,
    images: ImageSet,
    store: ArtifactStore,
    scoring: CamScoring,
    maps: np.ndarray | None = None,
    device: str = "cpu",
) -> NetworkScores:
    """Return the scores of a job under a chain: its maps with the logits that it began with.

    Args:
        job: the training run, or the job that fuses others.
        split: the split's name.
        images: the split's images.
        store: where maps and networks lie.
        scoring: how maps are scored, with the CAM of the chain.
        maps: the chain's, float32 [N, K, h, w]; None: it has no steps, and ends as it begins.
        device: where raw maps are made that the store lacks.

    Raises:
        CollapseError: see `row_scores`.

    """
    if job.fuses_maps:
        start = row_scores(job, split, images, store, device, scoring)
        if maps is None:
            return start
        return replace(start, maps=(maps,), without_object=None, without_context=None)
    raw = network_maps(job, "student", split, images, store, device, scoring.cam)
    if maps is None:
        maps = base_scores(raw, scoring.cam, scoring.scaling)
    return NetworkScores(
        (maps,), raw.image_logits, None, None, scoring.normalisation, windows=images.windows
    )


def learnt_network(job: TrainingJob, store: ArtifactStore) -> Network:
    """Return the network that steps go on from: of a row that fuses maps the first member's."""
    return load_network(store, job.sources[0], "student")


def _how(job: TrainingJob) -> MapFusion:
    return cast(MapFusion, job.settings["how"])


def _by(job: TrainingJob) -> LogitFusion:
    return cast(LogitFusion, job.settings.get("scores", "logits"))
