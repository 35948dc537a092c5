"""Objects found and false objects: connected regions of predicted maps against true ones.

An IoU over pixels hides small objects. A true object is found if a predicted one overlaps it by at
least a stated IoU. Predicted objects that match none are false.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.confusion import check_label_maps


class ObjectCounts(NamedTuple):
    """The objects of one class, in one image or added up over `images` of them.

    Attributes:
        objects: true objects.
        found: true objects that a predicted one matches.
        predicted: predicted objects.
        false: predicted objects that match no true one.
        images: how many images were counted.

    """

    objects: int
    found: int
    predicted: int
    false: int
    images: int = 1

    @classmethod
    def total(cls, counts: Iterable["ObjectCounts"]) -> Self:
        """Add up the counts of images.

        >>> both = ObjectCounts.total([ObjectCounts(2, 1, 1, 0), ObjectCounts(0, 0, 3, 3)])
        >>> both.recall, both.false_objects_an_image
        (0.5, 1.5)
        """
        rows = np.array(list(counts), np.int64).reshape(-1, len(cls._fields))
        return cls(*rows.sum(axis=0).tolist())

    @property
    def recall(self) -> float:
        """Return the share of the true objects that are found; NaN without any."""
        return self.found / self.objects if self.objects else float("nan")

    @property
    def precision(self) -> float:
        """Return the share of the predicted objects that match a true one; NaN without any."""
        return 1 - self.false / self.predicted if self.predicted else float("nan")

    @property
    def false_objects_an_image(self) -> float:
        """Return the false objects an image; NaN without an image."""
        return self.false / self.images if self.images else float("nan")


def object_counts(
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: int,
    *,
    overlap: float,
    smallest: int = 1,
) -> list[ObjectCounts]:
    """Count the objects of each class in one image.

    An object is a region of one class whose pixels touch, corners included. Each true object is
    matched with one predicted object at most and the reverse, the pairs of the highest IoU first.
    Void pixels count in no IoU. A predicted object that is void by more than half is left out,
    because nobody knows what is there (Kirillov et al., "Panoptic Segmentation", CVPR 2019, 4.2).

    Args:
        predicted: integers [h, w], see `confusion_counts`.
        truth: integers [h, w]; 255 is void.
        classes: K, without the background.
        overlap: the least IoU of a match, above 0, at most 1.
        smallest: predicted and true objects of fewer pixels are left out.

    Returns:
        K counts, in the order of the classes.

    Raises:
        InputError: see `confusion_counts`, or an overlap or size out of range.

    """
    counted = check_label_maps(predicted, truth, classes)
    if not 0 < overlap <= 1:
        raise InputError(f"overlap: expected above 0, at most 1, got {overlap}")
    if smallest < 1:
        raise InputError(f"smallest: expected 1 pixel or more, got {smallest}")
    counts = []
    for value in range(1, classes + 1):
        true = _objects(truth == value, counted, smallest)
        found = _objects(predicted == value, counted, smallest)
        matched = _matches(true[counted], found[counted], overlap)
        objects, regions = int(true.max(initial=0)), int(found.max(initial=0))
        counts.append(ObjectCounts(objects, matched, regions, regions - matched))
    return counts


def _objects(
    mask: NDArray[np.bool_], counted: NDArray[np.bool_], smallest: int
) -> NDArray[np.intp]:
    """Number the regions of a mask from 1, those left out being 0; intp [h, w]."""
    from scipy import ndimage

    regions, count = ndimage.label(mask, structure=np.ones((3, 3), int))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    known = np.bincount(regions[counted], minlength=count + 1)
    kept = (2 * known >= sizes) & (known >= smallest)
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[regions]


def _matches(true: NDArray[np.intp], found: NDArray[np.intp], overlap: float) -> int:
    """Count the pairs of objects that overlap enough, each object in one pair at most."""
    width = int(found.max(initial=0)) + 1
    pairs, hits = np.unique(true * width + found, return_counts=True)
    sizes, found_sizes = np.bincount(true), np.bincount(found, minlength=width)
    rows, columns = pairs // width, pairs % width
    real = (rows > 0) & (columns > 0)
    rows, columns, hits = rows[real], columns[real], hits[real]
    iou = hits / (sizes[rows] + found_sizes[columns] - hits)
    taken, used = set[int](), set[int]()
    for place in np.argsort(-iou, kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if iou[place] >= overlap and row not in taken and column not in used:
            taken.add(row)
            used.add(column)
    return len(taken)
