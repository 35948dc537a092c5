"""Reasons: what the networks of a trained job need of the test images to find a class.

Accuracy under alterations of object and context, deletion and insertion in the order of the CAM,
and boxes around it. They are kept as scores of their own, so a study may ask for them later.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from studies.planning import TrainingJob
from studies.stages.handover import JobStatus, RunContext
from studies.stages.publishing import keep_scores, publish
from studies.stages.scoring import LedgerRow, NetworkScores
from studies.stages.training import load_network
from studies.store import ArtifactStore
from wsss_core.backbones import Network
from wsss_core.cams import class_weight_cams
from wsss_core.data.image_set import IGNORED, ImageSet
from wsss_core.evaluate import quantise
from wsss_core.evaluate.reasons import (
    Predict,
    ReasonSettings,
    box_overlaps,
    deletion_insertion,
    max_box_accuracy,
    measure_reasons,
    object_and_context,
)
from wsss_core.progress import made_progress

SPLIT = "test"


def measure_job(
    job: TrainingJob,
    context: RunContext,
    store: ArtifactStore,
    scores_of: Callable[[str, ImageSet], Mapping[str, NetworkScores]],
    device: str,
    status: JobStatus,
) -> None:
    """Measure the reasons of a job's networks, unless that was done, and publish them.

    Args:
        job: the training run; it is trained and its trials are scored.
        context: its run, which says how reasons are measured.
        store: where networks, images and reasons lie.
        scores_of: takes a split's name and images; returns the scores by the network's name.
        device: where the networks run.
        status: how the job ended; a collapsed one has no reasons.

    """
    if context.reasons is None:
        return
    for trial in job.trials:
        if trial.reasons is None:
            continue
        if not store.has("scores", trial.reasons):
            rows: list[LedgerRow] = []
            if status is JobStatus.OK:
                images = job.images.load(store, SPLIT)
                scores = scores_of(SPLIT, images)
                for role in job.mapped_roles:  # none of a row that fuses maps
                    network = load_network(store, job, role)
                    predict = _predict(network, device)
                    rows += reason_rows(predict, images, scores[role], role, context.reasons)
            keep_scores(store, job, trial.reasons, {"reasons": rows}, {"trial_key": trial.key})
        publish(store, trial.reasons, context.results)


def reason_rows(
    predict: Predict,
    images: ImageSet,
    scores: NetworkScores,
    network: str,
    settings: ReasonSettings,
) -> list[LedgerRow]:
    """Return the rows of the table `reasons` of one network, without the trial's key.

    Args:
        predict: gives the network's logits.
        images: the test images, with masks.
        scores: the network's scores of them.
        network: its name in the ledger.
        settings: how reasons are measured.

    """
    rows: list[LedgerRow] = []
    for number, class_name in enumerate(images.classes):
        shown = [i for i in range(len(images)) if (images.mask(i) == number + 1).any()]
        others = np.flatnonzero(~images.labels[:, number]).tolist()
        about = {"network": network, "split": SPLIT, "class_name": class_name}
        found = measure_reasons(
            predict, images.images, number, _regions(images, number), shown, others, settings
        )
        for name, sigma, value in (
            ("clean", None, found.clean),
            *(
                ("noisy_object", *one)
                for one in zip(settings.sigmas, found.noisy_object, strict=True)
            ),
            *(
                ("noisy_context", *one)
                for one in zip(settings.sigmas, found.noisy_context, strict=True)
            ),
            *((name, None, value) for name, value in found.ablated.items()),
            *_of_maps(predict, images, scores, number, settings.chosen(shown), settings),
        ):
            if not np.isnan(value):
                row = {"measure": name, "sigma": sigma, "images": found.images}
                rows.append({**about, **row, "value": float(value)})
    return rows


def _regions(images: ImageSet, number: int) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    size = images.images.shape[1]
    return lambda place: object_and_context(images.mask(place), number, size)


def _of_maps(
    predict: Predict,
    images: ImageSet,
    scores: NetworkScores,
    number: int,
    places: list[int],
    settings: ReasonSettings,
) -> Iterator[tuple[str, None, float]]:
    """Yield the figures that take the network's own maps: deletion, insertion and boxes."""
    size = images.images.shape[1]
    deletion, insertion, overlaps = [], [], []
    for place in places:
        made_progress()
        mask = images.mask(place)
        curves = deletion_insertion(
            predict,
            np.asarray(images.images[place]),
            scores.at(place, (size, size))[number],
            number,
            steps=settings.steps,
            seed=settings.seed,
        )
        deletion.append(curves.deletion_area)
        insertion.append(curves.insertion_area)
        levels = quantise(scores.at(place, mask.shape)[number])
        levels[mask == IGNORED] = 0
        overlaps.append(box_overlaps(levels, mask == number + 1))
    if places:
        yield "deletion_area", None, float(np.mean(deletion))
        yield "insertion_area", None, float(np.mean(insertion))
        yield "max_box_accuracy", None, max_box_accuracy(overlaps)


def _predict(network: Network, device: str) -> Predict:
    network = network.to(device).eval()
    return lambda images: class_weight_cams(network, images, device=device).logits
