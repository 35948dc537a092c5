"""From a segmentation run's settings to a trained segmenter in the store.

Artifact: segmenter.safetensors, as `wsss_core.segmentation.save_segmenter` writes it, and
outcome.json. Without the first, the training has collapsed.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from studies.planning import SegmentJob
from studies.spec.segmentation.segment import WITHOUT_TUNE_MASKS
from studies.stages.device import WorkerShare
from studies.stages.environment import device_name
from studies.stages.handover import JobStatus, RunContext
from studies.stages.segmentation.pseudo_masks import PseudoMasks
from studies.stages.segmentation.selection import select_images
from studies.stages.training import TrainingOutcome
from studies.store import ArtifactStore
from studies.store.origin import method_digest, origin, together
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.segmentation import (
    FitRecord,
    LabelledImages,
    Segmenter,
    SegmenterSettings,
    build_segmenter,
    fit,
    load_segmenter,
    save_segmenter,
)
from wsss_core.training import CollapseError

logger = logging.getLogger(__name__)
SEGMENTER = "segmenter.safetensors"
SEGMENT_OUTCOME = "outcome.json"


@dataclass(frozen=True)
class SegmentOutcome:
    """How a segmentation run ended, as its artifact keeps it.

    Attributes:
        status: ok or collapsed.
        error: why it collapsed.
        history: its records, see `wsss_core.segmentation.FitRecord`.
        parameters: of the segmenter; 0 where it was not trained.
        images: how many it was trained on.
        masks_trained: how many of these had a true mask that was drawn.
        masks_spent: how many masks were looked at in all, those that the threshold was tuned on
            included.
        level: the threshold of its pseudo masks, 0 to 255; None without any.
        given: what its process had of the machine, and its origin.

    """

    status: JobStatus
    error: str | None
    history: list[FitRecord] = field(default_factory=list)
    parameters: int = 0
    images: int = 0
    masks_trained: int = 0
    masks_spent: int = 0
    level: int | None = None
    given: dict[str, str | float | None] = field(default_factory=dict)

    @property
    def code_digest(self) -> str | None:
        """The digest of the code that trained it."""
        digest = self.given.get("code_digest")
        return None if digest is None else str(digest)

    @classmethod
    def read(cls, store: ArtifactStore, key: str) -> "SegmentOutcome":
        """Return how a finished segmentation run ended."""
        with store.reading("segment", key) as folder:
            kept = json.loads((folder / SEGMENT_OUTCOME).read_text(encoding="utf-8"))
            history = [FitRecord(**record) for record in kept["history"]]
            return cls(**{**kept, "status": JobStatus(kept["status"]), "history": history})

    def write(self, folder: Path) -> None:
        """Write it to the folder of the artifact."""
        (folder / SEGMENT_OUTCOME).write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class ChosenLabels:
    """The training images of a segmentation run with their masks.

    Attributes:
        data: images and masks.
        level: the threshold of pseudo masks; None without any.
        masks_trained: how many true masks are among them.
        masks_spent: these, and the masks that the threshold was tuned on.

    """

    data: LabelledImages
    level: int | None
    masks_trained: int
    masks_spent: int


def choose_labels(
    job: SegmentJob, context: RunContext, store: ArtifactStore, device: str
) -> ChosenLabels:
    """Choose the training images of a run, and make their masks.

    Raises:
        InputError: masks that are not there, a rule that finds no threshold.

    """
    selection = select_images(job, store)
    images, places = selection.images, selection.places
    whole = len(places) == len(images)
    pixels = images.images if whole else images.images[places]
    masks, drawn = selection.true_masks(), len(selection.masks)
    if job.maps is None:
        return ChosenLabels(LabelledImages(pixels, masks), None, drawn, drawn)
    given = job.settings["labels"]["pseudo"]
    pseudo = _best_on_tune(
        PseudoMasks(maps, given, context, selection, store, device)
        for maps in (job.maps, *job.alternatives)
    )
    rows = {place: row for row, place in enumerate(places.tolist())}
    weights = None
    if job.settings["labels"]["pseudo"]["confidence"] is not None:
        weights = np.ones(masks.shape, np.float32)
    for place, scores in pseudo.each():
        made_progress()
        if place not in rows or place in selection.masks or not images.labels[place].any():
            continue
        masks[rows[place]] = pseudo.cut(place, scores)
        if weights is not None:
            weights[rows[place]] = pseudo.weights(scores, masks[rows[place]])
    tuned_on = 0
    if job.settings["labels"]["pseudo"]["rule"] not in WITHOUT_TUNE_MASKS:
        tuned_on = int(job.images.load(store, "tune").labels.any(axis=1).sum())
    data = LabelledImages(pixels, masks, weights)
    return ChosenLabels(data, pseudo.level, drawn, drawn + tuned_on)


def _best_on_tune(candidates: Iterable[PseudoMasks]) -> PseudoMasks:
    """Return the pseudo masks whose maps are best on the tune split, of equals the first.

    A chain that fails is passed over, as in the report.

    Raises:
        InputError: the plain CAM has no figure of the tune split.

    """
    plain, *others = candidates
    if not others:
        return plain
    best, most = plain, plain.reached
    for one in others:
        try:
            reached = one.reached
        except InputError as error:
            logger.warning("chain %s is not chosen from: %s", one.chain, error)
            continue
        if reached > most:
            best, most = one, reached
    logger.info("pseudo masks under the tuned chain: %s", best.chain)
    return best


def segmenter_settings(job: SegmentJob, weights: str) -> SegmenterSettings:
    """Return the settings that build a run's segmenter.

    Args:
        job: the run.
        weights: where the encoder's weights lie.

    """
    known = {one.name for one in fields(SegmenterSettings)}
    given = {name: value for name, value in job.settings["model"].items() if name in known}
    return SegmenterSettings(**{**given, "weights": weights})


def initial_segmenter(job: SegmentJob) -> Segmenter:
    """Return a run's segmenter before training; its random parts follow from the seed alone.

    Raises:
        InputError: a weights file whose content is not the one that the run's key stands for.

    """
    file, planned = Path(job.weights), job.settings["model"]["weights"]
    if file.is_file() and (found := file_hashes([file])[0]) != planned:
        raise InputError(
            f"weights file {file} changed since the plan: its digest was {planned} and is {found}; "
            "run again to plan with the new file"
        )
    torch.manual_seed(job.seed)
    settings = segmenter_settings(job, job.weights)
    segmenter = build_segmenter(settings, classes=len(job.classes), image_size=job.image_size)
    segmenter.class_names = tuple(job.classes)
    return segmenter


def load_trained_segmenter(store: ArtifactStore, key: str, *, device: str = "cpu") -> Segmenter:
    """Return a trained segmenter from the store.

    Args:
        store: where it lies.
        key: of its segmentation run.
        device: where it is put.

    """
    with store.reading("segment", key) as folder:
        return load_segmenter(folder / SEGMENTER, device=device)


def train_segmenter(
    job: SegmentJob,
    context: RunContext,
    store: ArtifactStore,
    share: WorkerShare,
    on_record: Callable[[FitRecord], None],
) -> SegmentOutcome:
    """Train a run's segmenter unless the store holds it; an interrupted training goes on.

    Args:
        job: the run.
        context: the run of the study.
        store: where its images and maps lie and the segmenter goes.
        share: what this process has of the machine.
        on_record: called after each record, whose checkpoint is written by then.

    Raises:
        torch.OutOfMemoryError: not even one image at a time fits.

    """
    if store.has("segment", job.key):
        return SegmentOutcome.read(store, job.key)
    assert not job.single_stage  # see `keep_decoder`
    given: dict[str, Any] = {**share.as_record(device_name(share.device)), **origin(job.settings)}
    taught_by: list[str | None] = []
    about: dict[str, Any] = {"settings": job.settings, "parent": job.parent}
    if job.parent is not None:
        if not store.has("train", job.parent):
            raise RuntimeError("the network of its pseudo masks is not trained: that run failed")
        parent = TrainingOutcome.read(store, job.parent)
        taught_by = [parent.code_digest]
        if parent.status is not JobStatus.OK:
            error = f"the network of its pseudo masks collapsed: {parent.error}"
            outcome = SegmentOutcome(JobStatus.COLLAPSED, error, given=given)
            with store.build("segment", job.key, about) as folder:
                outcome.write(folder)
            return outcome
    given["code_digest"] = together([*taught_by, method_digest()])
    labels = choose_labels(job, context, store, share.device)
    segmenter = initial_segmenter(job)
    failure: str | None = None
    history: list[FitRecord] = []

    def after_record(record: FitRecord) -> None:
        store.keep_scratch("segment", job.key)
        on_record(record)

    try:
        history = fit(
            segmenter,
            labels.data,
            job.fit,
            seed=job.seed,
            device=share.device,
            checkpoint=store.scratch("segment", job.key) / "checkpoint.pt",
            on_record=after_record,
        )
    except CollapseError as collapse:
        failure, history = str(collapse), list(collapse.history)
    outcome = SegmentOutcome(
        status=JobStatus.OK if failure is None else JobStatus.COLLAPSED,
        error=failure,
        history=history,
        parameters=sum(parameter.numel() for parameter in segmenter.parameters()),
        images=len(labels.data),
        masks_trained=labels.masks_trained,
        masks_spent=labels.masks_spent,
        level=labels.level,
        given=given,
    )
    with store.build("segment", job.key, about) as folder:
        if failure is None:
            save_segmenter(segmenter, folder / SEGMENTER)
        outcome.write(folder)
    return outcome
