"""Predicted label maps against true ones: confusion counts, and every mean IoU that the field uses.

The same predictions give a different mean IoU under each definition. They differ in what is
averaged first (pixels of all images, images, classes), in whether the background counts as a class,
and in what a class is worth that does not occur. Counts are kept for each image, so that all
definitions come from the same counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError

_VOID = 255  # `wsss_core.data.IGNORED`, a room above this one


class MeanIou(StrEnum):
    """Which mean of IoUs is taken.

    `DATASET` is that of PASCAL VOC (Everingham et al., IJCV 2015): pixels of all images are added
    up, and the mean is over the background and all classes. `FOREGROUND` leaves the background out.
    `PRESENT` leaves out classes that are neither true nor predicted anywhere, as torchmetrics does.

    `PER_CLASS` averages a class's IoU over the images that hold it, then over the classes without
    the background: `per_image_iou` of score maps. `PER_IMAGE` averages over what an image holds,
    the background included, then over the images. Wang et al. (NeurIPS 2023 Datasets and
    Benchmarks, arXiv 2310.19252) compare means by data set, image and class.
    """

    DATASET = "dataset_miou"
    FOREGROUND = "foreground_miou"
    PRESENT = "present_miou"
    PER_CLASS = "per_image_iou"
    PER_IMAGE = "image_miou"


def confusion_counts(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of one image by true and by predicted class.

    Args:
        predicted: integers [h, w], 0 the background, k + 1 class k; 255 only where `truth` is.
        truth: integers [h, w], the same values; 255 counts for nothing.
        classes: K, without the background.

    Returns:
        int64 [K + 1, K + 1]; entry (t, p) counts pixels of class t predicted as p.

    Raises:
        InputError: maps of different shapes, or another value.

    Example:
        >>> confusion_counts(np.array([[0, 1, 1]]), np.array([[0, 0, 255]]), 1).tolist()
        [[1, 1], [0, 0]]

    """
    counted = check_label_maps(predicted, truth, classes)
    pairs = truth[counted].astype(np.int64) * (classes + 1) + predicted[counted]
    return np.bincount(pairs, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def check_label_maps(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.bool_]:
    """Return which pixels count, bool [h, w]; see `confusion_counts`.

    Raises:
        InputError: maps of different shapes, or a value beyond the classes and 255.

    """
    if predicted.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            f"label maps: expected two of [h, w], got {list(predicted.shape)} predicted and "
            f"{list(truth.shape)} true"
        )
    counted: NDArray[np.bool_] = truth != _VOID
    for name, values in (("predicted", predicted), ("true", truth)):
        found = values[counted]
        if found.size and not 0 <= int(found.min()) <= int(found.max()) <= classes:
            wrong = int(found.max()) if found.max() > classes else int(found.min())
            raise InputError(f"label maps: {name} value {wrong}, expected 0 to {classes}, or 255")
    return counted


@dataclass(frozen=True, eq=False)
class ConfusionCounts:
    """Confusion counts of N images.

    Attributes:
        pixels: int64 [N, K + 1, K + 1]; entry (n, t, p) counts pixels of image n of true class t
            predicted as p.

    Raises:
        InputError: no image, or another shape.

    """

    pixels: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[0] < 1 or shape[1] != shape[2] or shape[1] < 2:
            raise InputError(f"confusion counts: expected [N, K + 1, K + 1], got {list(shape)}")

    @classmethod
    def of_maps(
        cls, maps: Iterable[tuple[NDArray[np.integer], NDArray[np.integer]]], classes: int
    ) -> Self:
        """Count pairs of a predicted and a true map, see `confusion_counts`; at least one."""
        counts = [confusion_counts(predicted, truth, classes) for predicted, truth in maps]
        if not counts:
            raise InputError("confusion counts: expected at least one image, got none")
        return cls(np.stack(counts))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def holds(self) -> NDArray[np.bool_]:
        """Return which classes each image holds, the background first; bool [N, K + 1]."""
        held: NDArray[np.bool_] = self.pixels.sum(axis=2) > 0
        return held

    def of_images(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> "ConfusionCounts":
        """Return the counts of some of the images."""
        return ConfusionCounts(self.pixels[chosen])

    def with_objects(self) -> "ConfusionCounts":
        """Return the counts of the images that hold any class, over which score maps are pooled.

        Raises:
            InputError: no image does.

        """
        return self.of_images(np.flatnonzero(self.holds[:, 1:].any(axis=1)))

    def iou(self) -> NDArray[np.float64]:
        """Return each class's IoU over the pixels of all images, float64 [K + 1].

        NaN where a class is neither true nor predicted.
        """
        return _iou(self.pixels.sum(axis=0))

    def image_iou(self) -> NDArray[np.float64]:
        """Return each class's IoU in each image, float64 [N, K + 1]; NaN as in `iou`."""
        return _iou(self.pixels)

    def dice(self) -> NDArray[np.float64]:
        """Return each class's Dice coefficient (F1) over the pixels of all images, [K + 1]."""
        each = self.iou()
        return 2 * each / (1 + each)

    def pixel_accuracy(self) -> float:
        """Return the share of pixels predicted as what they are; NaN without any."""
        total = self.pixels.sum(axis=0)
        return float(_divided(np.trace(total), total.sum()))

    def mean_accuracy(self) -> float:
        """Return the mean recall of the background and all classes; NaN where one is missing."""
        total = self.pixels.sum(axis=0)
        return float(_divided(np.diagonal(total), total.sum(axis=1)).mean())

    def frequency_weighted_iou(self) -> float:
        """Return the mean of the IoUs by the classes' shares of pixels (Long et al., CVPR 2015)."""
        total = self.pixels.sum(axis=0)
        return float(np.nansum(_divided(total.sum(axis=1), total.sum()) * self.iou()))

    def mean_iou(self, definition: MeanIou | str = MeanIou.DATASET) -> float:
        """Return a mean of IoUs; NaN where a class that it is over occurs in no image.

        Raises:
            InputError: no such definition.

        """
        try:
            definition = MeanIou(definition)
        except ValueError as error:
            known = ", ".join(MeanIou)
            raise InputError(f"mean IoU {definition!r}: expected one of {known}") from error
        occurring = self.holds.any(axis=0)
        pooled = np.where(occurring, self.iou(), np.nan)
        if definition is MeanIou.DATASET:
            return float(pooled.mean())
        if definition is MeanIou.FOREGROUND:
            return float(pooled[1:].mean())
        if definition is MeanIou.PRESENT:
            return float(_mean_where(~np.isnan(self.iou()), self.iou(), axis=0))
        each = self.image_iou()
        if definition is MeanIou.PER_CLASS:
            return float(_mean_where(self.holds, each, axis=0)[1:].mean())
        of_images = _mean_where(self.holds, each, axis=1)  # NaN of an image that is all void
        return float(_mean_where(~np.isnan(of_images), of_images, axis=0))


def _iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _divided(hits, counts.sum(axis=-1) + counts.sum(axis=-2) - hits)


def _divided(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean_where(
    chosen: NDArray[np.bool_], values: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    counts: NDArray[np.int64] = chosen.sum(axis=axis)
    sums = np.where(chosen, values, 0).sum(axis=axis)
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
