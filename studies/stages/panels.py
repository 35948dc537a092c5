"""Example images of each class with their masks and CAMs, as rows of the `panels` table."""

import io

import numpy as np
from PIL import Image

from studies.stages.scoring import LedgerRow, NetworkScores
from wsss_core.data.image_set import ImageSet
from wsss_core.evaluate import quantise


def panel_rows(
    scores: NetworkScores, images: ImageSet, *, network: str, count: int
) -> list[LedgerRow]:
    """Return pictures of `count` test images a class, evenly spaced over those that hold it.

    The choice depends on the images alone, so every trial shows the same ones.
    """
    rows = []
    for number, class_name in enumerate(images.classes):
        holding = np.flatnonzero(images.labels[:, number])
        chosen = holding[np.unique(np.linspace(0, len(holding) - 1, count).astype(int))]
        for index in chosen if count and len(holding) else ():
            mask = images.mask(int(index))
            rows.append(
                {
                    "network": network,
                    "split": "test",
                    "image": images.identifiers[index],
                    "class_name": class_name,
                    "image_png": _png(np.asarray(images.images[index])),
                    "mask_png": _png(np.where(mask == number + 1, 255, 0).astype(np.uint8)),
                    "cam_png": _png(quantise(scores.at(int(index), mask.shape)[number])),
                }
            )
    return rows


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
