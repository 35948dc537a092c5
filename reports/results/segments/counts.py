"""The figures of a segmenter, all from the counts that the ledger holds of each image and class.

The five measures of maps at a threshold are among them, by the same names and over the same images,
so that a segmenter can be compared with the maps that its labels were cut from.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reports.names import MEASURES
from wsss_core.evaluate import ConfusionCounts, MeanIou, ObjectCounts, boundary_iou

SEGMENT_FIGURES = (
    *MEASURES,
    "foreground_miou",
    "present_miou",
    "image_miou",
    "boundary_iou",
    "object_recall",
    "false_objects",
    "pixel_accuracy",
)
"""The figures of a segmenter: shares in [0, 1], and the false objects an image."""

OF_ALL_CLASSES = ("foreground_miou", "present_miou", "image_miou")
"""The figures that a class alone does not have."""

_OBJECTS = ("objects", "found", "predicted", "false_objects")


@dataclass(frozen=True, eq=False)
class SegmentCounts:
    """The counts of N images and K classes.

    Attributes:
        classes: the classes without the background.
        confusion: pixels by true and predicted class, the background first.
        boundaries: int64 [N, K + 1, 2], intersection and union of the boundaries.
        objects: int64 [N, K, 4], true objects, those found, predicted ones, false ones.

    """

    classes: tuple[str, ...]
    confusion: ConfusionCounts
    boundaries: NDArray[np.int64]
    objects: NDArray[np.int64]

    @classmethod
    def of_rows(cls, rows: pa.Table) -> Self:
        """Take the rows of one part of the ledger's table `segment_scores`."""
        numbers = np.asarray(rows["class_number"])
        several = int(numbers.max()) + 1
        names = rows["class_name"].to_pylist()[1:several]

        def column(name: str) -> NDArray[np.int64]:
            filled = rows[name].fill_null(0).to_numpy()
            return np.asarray(filled, np.int64).reshape(-1, several)

        pixels = rows["pixels"].combine_chunks().flatten().to_numpy()
        return cls(
            tuple(names),
            ConfusionCounts(pixels.reshape(-1, several, several)),
            np.stack([column("boundary_hits"), column("boundary_union")], axis=-1),
            np.stack([column(name) for name in _OBJECTS], axis=-1)[:, 1:],
        )

    def figures(self, class_name: str | None = None) -> dict[str, float]:
        """Return every figure of a class, or of the mean over classes.

        Args:
            class_name: None: the mean over classes, which is the only class if there is one. The
                mean IoUs count the background too where their name says so; of a class they are
                the class's own, and those over what an image holds are then left out.

        """
        number = None if class_name is None else self.classes.index(class_name) + 1
        positive = self._of_positive()
        found = {
            **_pooled(positive, number, ""),
            **_pooled(self.confusion, number, "_all_images"),
            "per_image_iou": self._per_image(number),
            "boundary_iou": self._boundary(number),
            **self._objects_of(number),
            "pixel_accuracy": self.confusion.pixel_accuracy(),
        }
        if number is None:
            found |= {
                "foreground_miou": self.confusion.mean_iou(MeanIou.FOREGROUND),
                "present_miou": self.confusion.mean_iou(MeanIou.PRESENT),
                "image_miou": self.confusion.mean_iou(MeanIou.PER_IMAGE),
            }
        return {name: found.get(name, float("nan")) for name in SEGMENT_FIGURES}

    def _of_positive(self) -> ConfusionCounts | None:
        holds = self.confusion.holds[:, 1:].any(axis=1)
        return self.confusion.with_objects() if holds.any() else None

    def _per_image(self, number: int | None) -> float:
        if number is None:
            return self.confusion.mean_iou(MeanIou.PER_CLASS)
        held = self.confusion.holds[:, number]
        each = self.confusion.image_iou()[held, number]
        return float(each.mean()) if each.size else float("nan")

    def _boundary(self, number: int | None) -> float:
        each = boundary_iou(self.boundaries.sum(axis=0))
        return float(each[1:].mean() if number is None else each[number])

    def _objects_of(self, number: int | None) -> dict[str, float]:
        """Return recall and false objects an image, of all classes together without a number."""
        chosen = self.objects if number is None else self.objects[:, [number - 1]]
        objects, found, predicted, false = chosen.sum(axis=(0, 1)).tolist()
        total = ObjectCounts(objects, found, predicted, false, len(self.confusion))
        return {
            "object_recall": total.recall,
            "false_objects": total.false_objects_an_image,
        }


def _pooled(counts: ConfusionCounts | None, number: int | None, images: str) -> dict[str, float]:
    if counts is None:
        return {}
    each = counts.iou()
    occurs = counts.holds.any(axis=0)
    each = np.where(occurs, each, np.nan)
    if number is not None:
        iou = float(each[number])
        miou = (iou + float(each[0])) / 2
    else:
        iou, miou = float(each[1:].mean()), float(each.mean())
    return {f"dataset_iou{images}": iou, f"dataset_miou{images}": miou}
