"""Argmax with a background threshold, scored at every threshold from one pass over the pixels.

PASCAL VOC scores a label map of the background and K classes (21 with its 20). A label map follows
from K score maps and a threshold: a pixel takes the class of the highest score where that reaches
the threshold, else it is background. Which class is highest does not depend on the threshold, so
the number of pixels for each true class, winning class and winner's level holds the confusion
counts of all 256 label maps, exactly. It is counted once, whatever K is, and added up over images
in memory that their number does not change.

The winner is that of `compete`: the first of equal levels, with a level of at least 1. Levels 0 and
1 therefore leave no background, and curves begin at level 1; entry 0 is NaN.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.confusion import MeanIou
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve, at_least
from wsss_core.evaluate.score_histogram import ScoreHistogram
from wsss_core.evaluate.thresholds import member_named

_MOST = 254  # classes of a label map of bytes, which holds the background and 255 as well
_VOID = 255
_BLOCK = 1 << 16  # pixels; five arrays of so many bytes fit a second-level cache


def winners(levels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return each pixel's class of the highest level, and that level.

    Args:
        levels: uint8 [K, h, w]. Of equal levels the first class wins.

    Returns:
        The winning class, uint8 [h, w] of 0 to K - 1, and its level, uint8 [h, w] of 1 to 255: a
        winner has at least 1, as in `compete`.

    Raises:
        InputError: levels of another type or shape, of no class, or of more than 254.

    Example:
        >>> winner, level = winners(np.array([[[9, 0, 4]], [[3, 0, 7]]], dtype=np.uint8))
        >>> winner.tolist(), level.tolist()
        ([[0, 0, 1]], [[9, 1, 7]])

    """
    if levels.dtype != np.uint8 or levels.ndim != 3 or not 1 <= len(levels) <= _MOST:
        raise InputError(
            f"levels: expected uint8 [K, h, w] of 1 to {_MOST} classes, "
            f"got {levels.dtype} {list(levels.shape)}"
        )
    flat = levels.reshape(len(levels), levels[0].size)
    level = flat[0].copy()
    winner = np.zeros(level.shape, np.uint8)
    for start in range(0, level.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        _contend(flat[:, part], winner[part], level[part])
    np.maximum(level, 1, out=level)
    shape = levels.shape[1:]
    return winner.reshape(shape), level.reshape(shape)


def _contend(
    levels: NDArray[np.uint8], winner: NDArray[np.uint8], level: NDArray[np.uint8]
) -> None:
    """Let the classes after the first contend for some pixels [P]; levels are uint8 [K, P]."""
    beats, number = np.empty(level.shape, np.bool_), np.empty(level.shape, np.uint8)
    # Bytes throughout, 16 or more at a time; argmax along the first axis takes far longer.
    for place in range(1, len(levels)):
        np.greater(levels[place], level, out=beats)
        np.maximum(level, levels[place], out=level)
        np.multiply(beats.view(np.uint8), np.uint8(place), out=number)
        np.maximum(winner, number, out=winner)  # the later class has the higher number


@dataclass(frozen=True, eq=False)
class WinnerHistogram:
    """Pixels by true class, winning class and the winner's level.

    Histograms add, so that of an image and that of a data set are the same kind of thing.

    Attributes:
        pixels: int64 [K + 1, K, 256]; entry (t, k, l) counts pixels of true class t, 0 the
            background, in which class k wins with level l.

    Raises:
        InputError: another shape.

    """

    pixels: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[0] != shape[1] + 1 or shape[2] != SCORE_LEVELS or not shape[1]:
            raise InputError(f"winner histogram: expected [K + 1, K, 256], got {list(shape)}")

    @classmethod
    def from_scores(
        cls, levels: NDArray[np.uint8], truth: NDArray[np.integer]
    ) -> "WinnerHistogram":
        """Count one image.

        Args:
            levels: uint8 [K, h, w], the classes' maps at the mask's resolution.
            truth: integers [h, w], 0 the background, k + 1 class k, 255 for nothing.

        Raises:
            InputError: arrays of other types or shapes, or another value.

        """
        return cls.from_winners(*winners(levels), truth, len(levels))

    @classmethod
    def from_winners(
        cls,
        winner: NDArray[np.uint8],
        level: NDArray[np.uint8],
        truth: NDArray[np.integer],
        classes: int,
    ) -> "WinnerHistogram":
        """Count one image of which `winners` are known.

        Args:
            winner: uint8 [h, w].
            level: uint8 [h, w]; 0 where the winner takes no part, so that no class is predicted.
            truth: see `from_scores`.
            classes: K.

        """
        code = winner.astype(np.uint16)
        code <<= 8
        code |= level
        # The row of each true value; ignored pixels go to one of their own, which is dropped.
        row = np.full(SCORE_LEVELS, classes + 1)
        row[: classes + 1] = np.arange(classes + 1)
        place = (row * (classes * SCORE_LEVELS)).take(_true_values(truth, level.shape, classes))
        place += code
        counts = np.bincount(place.ravel(), minlength=(classes + 2) * classes * SCORE_LEVELS)
        return cls(counts.reshape(classes + 2, classes, SCORE_LEVELS)[:-1])

    def __add__(self, other: "WinnerHistogram") -> "WinnerHistogram":
        return WinnerHistogram(self.pixels + other.pixels)

    @property
    def classes(self) -> int:
        """The number of classes K, without the background."""
        return self.pixels.shape[1]

    @cached_property
    def true_pixels(self) -> NDArray[np.int64]:
        """The number of pixels of each true class, the background first; int64 [K + 1]."""
        return self.pixels.sum(axis=(1, 2))

    def confusion_at(self, levels: int | Sequence[int]) -> NDArray[np.int64]:
        """Return the confusion counts of one label map, see `confusion_counts`.

        Args:
            levels: the threshold 0-255 of all classes, or one for each: a pixel takes its winner
                where the winner's level reaches the threshold of that class.

        Returns:
            int64 [K + 1, K + 1]; entry (t, p) counts pixels of class t predicted as p.

        Raises:
            InputError: a level outside 0-255, or another number of them.

        """
        given = np.asarray(levels)
        fits = given.dtype.kind in "iu" and given.shape in ((), (self.classes,))
        if not fits or given.min() < 0 or given.max() >= SCORE_LEVELS:
            raise InputError(
                f"levels: expected a whole number 0-255, or {self.classes} of them, got {levels}"
            )
        reached = np.arange(SCORE_LEVELS) >= np.broadcast_to(given, self.classes)[:, np.newaxis]
        predicted = (self.pixels * reached).sum(axis=2)
        background = self.true_pixels - predicted.sum(axis=1)
        return np.concatenate([background[:, np.newaxis], predicted], axis=1)

    def confusion(self) -> NDArray[np.int64]:
        """Return the confusion counts at every threshold, int64 [256, K + 1, K + 1]."""
        predicted = at_least(self.pixels)
        background = self.true_pixels[:, np.newaxis] - predicted.sum(axis=1)
        every = np.concatenate([background[:, np.newaxis], predicted], axis=1)
        return np.ascontiguousarray(np.moveaxis(every, -1, 0))

    def iou(self) -> NDArray[np.float64]:
        """Return each class's IoU at every threshold, the background first; [K + 1, 256].

        NaN where a class is neither true nor predicted, as in `ConfusionCounts`. Entry 0 of the
        thresholds is that of 1.
        """
        truth = self.true_pixels[:, np.newaxis]
        held = np.flatnonzero(self.true_pixels)  # an image holds few of many classes
        predicted = np.empty((self.classes + 1, SCORE_LEVELS), np.int64)
        predicted[1:] = at_least(self.pixels[held].sum(axis=0))
        predicted[0] = truth.sum() - predicted[1:].sum(axis=0)
        hits = np.zeros_like(predicted)
        objects = held[held > 0]
        hits[objects] = at_least(self.pixels[objects, objects - 1])
        hits[0] = truth[0] - at_least(self.pixels[0].sum(axis=0))
        union = truth + predicted - hits
        return np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)

    def of_class(self, number: int) -> ScoreHistogram:
        """Return the histogram of one class's competing levels, as `compete` leaves them."""
        foreground = self.pixels[number + 1, number].copy()
        background = self.pixels[:, number].sum(axis=0) - foreground
        truth = self.true_pixels
        foreground[0] = truth[number + 1] - foreground[1:].sum()  # where others win
        background[0] = truth.sum() - truth[number + 1] - background[1:].sum()
        return ScoreHistogram(foreground, background)

    def of_any_class(self) -> ScoreHistogram:
        """Return the histogram of the winner's level against the mask of any class."""
        return ScoreHistogram(self.pixels[1:].sum(axis=(0, 1)), self.pixels[0].sum(axis=0))


def _true_values(
    truth: NDArray[np.integer], shape: tuple[int, ...], classes: int
) -> NDArray[np.uint8]:
    if truth.dtype.kind not in "iu" or truth.shape != shape:
        raise InputError(
            f"truth: expected whole numbers {list(shape)}, got {truth.dtype} {list(truth.shape)}"
        )
    wrong = (truth > classes) & (truth != _VOID)
    if truth.dtype.kind == "i":
        wrong |= truth < 0
    if wrong.any():
        raise InputError(f"truth: value {truth[wrong][0]}, expected 0 to {classes}, or 255")
    return truth.astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class ArgmaxSweep:
    """Mean IoUs of many images at every threshold, by every definition of `MeanIou`.

    Attributes:
        with_class: the pixels of the images that hold any class.
        clear: the pixels of the others.
        class_sums: float64 [K, 256], a class's IoU summed over the images that hold it.
        class_images: int64 [K], the number of these images.
        image_sums: float64 [2, 256], the mean IoU of what an image holds, the background included,
            summed over the images that hold any class, and over the others.
        images: int64 [2], the number of these images; those that are ignored throughout are in
            neither.

    """

    with_class: WinnerHistogram
    clear: WinnerHistogram
    class_sums: NDArray[np.float64]
    class_images: NDArray[np.int64]
    image_sums: NDArray[np.float64]
    images: NDArray[np.int64]

    def pooled(self, *, all_images: bool = True) -> WinnerHistogram:
        """Return the pixels of all images, or of those that hold any class."""
        return self.with_class + self.clear if all_images else self.with_class

    def mean_iou(
        self, definition: MeanIou | str = MeanIou.DATASET, *, all_images: bool = True
    ) -> Curve:
        """Return a mean IoU at every threshold; `ConfusionCounts.mean_iou` of each label map.

        Args:
            definition: which mean. `DATASET` over all images is that of PASCAL VOC.
            all_images: take all images; else those that hold any class.

        Returns:
            float64 [256]; NaN at 0, and where a class that the mean is over occurs in no image.

        Raises:
            InputError: no such definition.

        """
        definition = member_named(MeanIou, "mean IoU", definition)
        if definition is MeanIou.PER_CLASS:
            curve = _mean(self.class_sums, self.class_images[:, np.newaxis]).mean(axis=0)
        elif definition is MeanIou.PER_IMAGE:
            some = slice(None) if all_images else slice(1)
            curve = _mean(self.image_sums[some].sum(axis=0), self.images[some].sum())
        else:
            pooled = self.pooled(all_images=all_images)
            each = pooled.iou()
            if definition is MeanIou.PRESENT:
                known = ~np.isnan(each)
                curve = _mean(np.where(known, each, 0).sum(axis=0), known.sum(axis=0))
            else:
                each[pooled.true_pixels == 0] = np.nan
                curve = each[int(definition is MeanIou.FOREGROUND) :].mean(axis=0)
        curve[0] = np.nan
        return curve

    def best_level(
        self, definition: MeanIou | str = MeanIou.DATASET, *, all_images: bool = True
    ) -> int | None:
        """Return the smallest of the best levels 1..255; None where there is no mean."""
        curve = self.mean_iou(definition, all_images=all_images)[1:]
        return None if np.isnan(curve).any() else int(np.argmax(curve)) + 1


def _mean(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def argmax_sweep(
    images: Iterable[tuple[NDArray[np.uint8], NDArray[np.integer]]], classes: int
) -> ArgmaxSweep:
    """Score maps of K classes as label maps at every threshold, one image at a time.

    Args:
        images: for each image the levels, uint8 [K, h, w], and the truth, integers [h, w] with 0
            for the background, k + 1 for class k and 255 for pixels that count for nothing. Sizes
            may differ. Images are taken one after the other, so a generator need not hold them.
        classes: K, 1 to 254.

    Raises:
        InputError: no image, another number of classes, or see `WinnerHistogram.from_scores`.

    Example:
        >>> levels = np.array([[[200, 90, 10]], [[20, 120, 30]]], dtype=np.uint8)
        >>> sweep = argmax_sweep([(levels, np.array([[1, 2, 0]]))], classes=2)
        >>> sweep.mean_iou()[[30, 31, 121]].round(3).tolist()
        [0.5, 1.0, 0.5]
        >>> sweep.best_level()
        31

    """
    if not 1 <= classes <= _MOST:
        raise InputError(f"classes: expected 1 to {_MOST}, got {classes}")
    pixels = np.zeros((2, classes + 1, classes, SCORE_LEVELS), np.int64)
    class_sums, class_images = np.zeros((classes, SCORE_LEVELS)), np.zeros(classes, np.int64)
    image_sums, counted = np.zeros((2, SCORE_LEVELS)), np.zeros(2, np.int64)
    number = -1
    for number, (levels, truth) in enumerate(images):
        if len(levels) != classes:
            raise InputError(f"image {number}: {len(levels)} classes, expected {classes}")
        one = WinnerHistogram.from_scores(levels, truth)
        held = one.true_pixels > 0
        clear = int(not held[1:].any())
        pixels[clear, held] += one.pixels[held]
        if not held.any():
            continue
        each = one.iou()
        class_sums[held[1:]] += each[1:][held[1:]]
        class_images += held[1:]
        image_sums[clear] += each[held].mean(axis=0)
        counted[clear] += 1
    if number < 0:
        raise InputError("images: expected at least one, got none")
    return ArgmaxSweep(
        WinnerHistogram(pixels[0]),
        WinnerHistogram(pixels[1]),
        class_sums,
        class_images,
        image_sums,
        counted,
    )
