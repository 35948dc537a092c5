"""What is tried of a segmentation run before anything is paid for: its masks and its segmenter.

Each distinct segmenter is built and passes two images forward and backward, at every scale that it
predicts at. A store remembers which segmenters passed.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from studies.planning import Plan, SegmentJob
from studies.spec.segmentation.segment import Prediction
from studies.stages.segmentation import select_images
from studies.stages.segmentation.training import initial_segmenter
from studies.store import TRIED, ArtifactStore, canonical
from studies.store.origin import folders_digest, origin
from wsss_core.errors import InputError, as_input_error
from wsss_core.segmentation import count_labels, predict_masks, try_segmenter

logger = logging.getLogger(__name__)


def check_segments(plan: Plan, pending: Iterable[SegmentJob], store: ArtifactStore) -> None:
    """Check the masks and the segmenters of segmentation runs; images have to be decoded.

    Args:
        plan: their plan.
        pending: those that have to run.
        store: where masks go, and what remembers the segmenters that passed.

    Raises:
        InputError: the first thing that cannot work, in a line.

    """
    jobs = list(pending)
    for job in jobs:
        plan.decode(job, store)
    for job in jobs:
        _check_masks(job, store)
    began, passed, tried = time.perf_counter(), store.folder.joined(TRIED), 0
    known = set(passed.listing())
    for job in jobs:
        if (key := _tried_key(job)) in known:
            continue
        with as_input_error(job.named, InputError):
            _try(job)
        passed.write(key, job.name.encode())
        known.add(key)
        tried += 1
    if tried:
        took = time.perf_counter() - began
        logger.info("segmenters: %d tried in %.1f s", tried, took)


def _check_masks(job: SegmentJob, store: ArtifactStore) -> None:
    """Raise unless the true masks that a run is trained on hold what it has to learn."""
    if job.masks is None:
        return
    selection = select_images(job, store)
    if selection.left_out:
        logger.info(
            "  %s: %d training images share a group with an image that is scored and do not join",
            job.named,
            selection.left_out,
        )
    if job.maps is not None:
        return  # pseudo masks may hold what these lack; training says so otherwise
    masks, drawn = selection.true_masks(), len(selection.masks)
    with as_input_error(f"{job.named}: masks of training images", InputError):
        counts = count_labels(masks, len(job.classes))
    missing = np.flatnonzero(counts == 0)
    if missing.size:
        name = ("the background", *job.classes)[int(missing[0])]
        raise InputError(
            f"{job.named}: the {drawn} true masks that it is trained on hold no pixel of {name}; "
            "expected one or more"
        )


def _tried_key(job: SegmentJob) -> str:
    """Return 20 hexadecimal digits: equal for segmenters that end alike."""
    made_by: dict[str, Any] = origin(job.settings)
    made_by["threads"] = None  # as many as there are
    made_by["preflight"] = folders_digest("studies/preflight")
    predicted = [
        [scoring.prediction.get(name) for name in ("scales", "precision")]
        for scoring in job.scorings
    ]
    model = [job.settings[name] for name in ("model", "classes", "image_size")]
    content = canonical([model, predicted, made_by])
    return blake2b(content.encode(), digest_size=10).hexdigest()


def _try(job: SegmentJob) -> None:
    """Build a segmenter, pass images forward and backward, and predict at its scales."""
    side = job.image_size
    with torch.random.fork_rng(devices=[]):
        segmenter = initial_segmenter(job)
        segmenter.check_size(torch.empty(0, 3, side, side))
        try_segmenter(segmenter, side)
    images = np.zeros((1, side, side, 3), np.uint8)
    for scoring in job.scorings:
        settings = Prediction.model_validate(scoring.prediction).settings()
        for scale in settings.scales:
            with as_input_error(f"predict.scales: {scale:g}", Exception, named=True):
                one_scale = replace(settings, scales=(scale,), flip=False, crf=None)
                list(predict_masks(segmenter, images, None, one_scale))
