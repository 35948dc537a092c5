"""Scores of a trained segmenter: counts of each test image and class, as ledger rows.

All figures are derived from the counts, see `wsss_core.evaluate`.
"""

import numpy as np

from studies.planning import SegmentJob, SegmentScoring
from studies.spec.segmentation.segment import Prediction
from studies.stages.scoring import LedgerRow
from studies.store import ArtifactStore
from wsss_core.evaluate import boundary_counts, confusion_counts, object_counts
from wsss_core.progress import made_progress
from wsss_core.segmentation import Segmenter, predict_masks


def segment_rows(
    job: SegmentJob,
    scoring: SegmentScoring,
    segmenter: Segmenter,
    store: ArtifactStore,
    device: str,
) -> list[LedgerRow]:
    """Return a row of the table `segment_scores` for each test image and true class.

    Args:
        job: the segmentation run.
        scoring: how masks are predicted and objects are counted.
        segmenter: the trained segmenter, on the device.
        store: where the images lie.
        device: where the segmenter is.

    """
    images = job.images.load(store, "test")
    classes = len(images.classes)
    sizes = [images.mask(index).shape for index in range(len(images))]
    settings = Prediction.model_validate(scoring.prediction).settings()
    windows = images.windows
    of_images = [(h, w) for h, w in sizes] if windows is None else None
    predicted = predict_masks(
        segmenter, images.views, of_images, settings, windows=windows, device=device
    )
    rows: list[LedgerRow] = []
    for index, mask in enumerate(predicted):
        truth = np.asarray(images.mask(index))
        pixels = confusion_counts(mask, truth, classes)
        boundary = boundary_counts(mask, truth, classes)
        objects = object_counts(mask, truth, classes, overlap=scoring.overlap)
        for number, class_name in enumerate(("background", *images.classes)):
            of_class = objects[number - 1] if number else None
            rows.append(
                {
                    "image": images.identifiers[index],
                    "group": images.groups[index],
                    "source": images.sources[index] or None,
                    "class_name": class_name,
                    "class_number": number,
                    "pixels": pixels[number].tolist(),
                    "boundary_hits": int(boundary[number, 0]),
                    "boundary_union": int(boundary[number, 1]),
                    "objects": of_class.objects if of_class else None,
                    "found": of_class.found if of_class else None,
                    "predicted": of_class.predicted if of_class else None,
                    "false_objects": of_class.false if of_class else None,
                }
            )
        made_progress()
    return rows
