"""The score histogram of one class: a map and its mask, at every threshold at once; of many images.

It holds the number of foreground and of background pixels at each of 256 score levels. Histograms
add, so an image's, a frame's and a data set's are the same kind of thing, and each yields IoU,
precision and recall at all thresholds from one pass over the pixels, exactly.

A stack of them gives IoU by definitions that differ in how images are pooled. Three figures go by
the name mIoU in this field. The thesis (arXiv 2507.21959) averages each image's foreground IoU;
PASCAL VOC pools the pixels of all images first and averages the IoU of foreground and background.
All are here. Pooled figures come twice: over the positive images, which hold the class, and over
all images, as a tool gives them that accumulates one confusion matrix (torchmetrics, mmseg). The
second count false positives on images without the class too; those are also a figure of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate import pixel_counts
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve, count_by_region


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Foreground and background pixels per score level.

    The curves are float64 [256]; entry t belongs to the prediction "foreground where score >= t". A
    figure whose denominator is empty is 0, as in inter / (union + 1e-8): the IoU at a threshold
    where neither mask nor prediction has a pixel, the precision where nothing is predicted, the
    recall of an empty mask.

    Attributes:
        foreground: int64 [256], pixels of the class at each level (read-only).
        background: int64 [256], all other pixels at each level (read-only). Ignored pixels are in
            neither.

    Raises:
        InputError: If the counts are not whole, not [256] or negative.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[200, 90], [120, 10]], dtype=np.uint8)
        >>> mask = np.array([[True, True], [False, False]])
        >>> histogram = ScoreHistogram.from_scores(scores, mask)
        >>> histogram.iou()[[0, 90, 91, 121, 201]].tolist()
        [0.5, 0.6666666666666666, 0.3333333333333333, 0.5, 0.0]
        >>> histogram.precision()[121].item(), histogram.recall()[121].item()
        (1.0, 0.5)
        >>> both = histogram + ScoreHistogram.from_scores(scores, ~mask)
        >>> both.foreground.sum().item(), both.iou()[0].item()
        (4, 0.5)

    """

    foreground: NDArray[np.int64]
    background: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("foreground", "background"):
            object.__setattr__(self, name, checked_counts(name, getattr(self, name), ndim=1))

    @classmethod
    def from_scores(
        cls,
        scores: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        *,
        ignore: NDArray[np.bool_] | None = None,
    ) -> "ScoreHistogram":
        """Count one map against its mask.

        Args:
            scores: uint8 [H, W], 0-255, at the mask's resolution (see `resize` and `quantise`).
            mask: bool [H, W], true where the pixel holds the class.
            ignore: bool [H, W], true where the pixel counts for nothing (the 255 of a VOC mask),
                whatever the mask says there.

        Raises:
            InputError: If an array is of another type or shape, or has no pixel.

        """
        _check_map("scores", scores, np.uint8)
        if scores.size == 0:
            raise InputError(
                f"scores: expected at least one pixel, got the shape {list(scores.shape)}"
            )
        _check_region("mask", mask, scores.shape)
        if ignore is not None:
            _check_region("ignore", ignore, scores.shape)
        return cls(*count_by_region(scores.ravel(), mask, ignore))

    def __add__(self, other: "ScoreHistogram") -> "ScoreHistogram":
        if not isinstance(other, ScoreHistogram):
            return NotImplemented
        return ScoreHistogram(
            self.foreground + other.foreground, self.background + other.background
        )

    def __radd__(self, other: object) -> "ScoreHistogram":
        if isinstance(other, int) and other == 0:  # where sum() starts
            return self
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreHistogram):
            return NotImplemented
        return np.array_equal(self.foreground, other.foreground) and np.array_equal(
            self.background, other.background
        )

    __hash__ = None  # type: ignore[assignment]

    def iou(self) -> Curve:
        """Return the intersection over union of the class, TP / (TP + FP + FN); float64 [256]."""
        return pixel_counts.iou(self.foreground, self.background)

    def background_iou(self) -> Curve:
        """Return the background's intersection over union, TN / (TN + FP + FN); float64 [256]."""
        return pixel_counts.background_iou(self.foreground, self.background)

    def precision(self) -> Curve:
        """Return the share of predicted pixels of the class, TP / (TP + FP); float64 [256]."""
        return pixel_counts.precision(self.foreground, self.background)

    def recall(self) -> Curve:
        """Return the share of the class's pixels predicted, TP / (TP + FN); float64 [256]."""
        return pixel_counts.recall(self.foreground)

    def false_positive_share(self) -> Curve:
        """Return the share of background pixels predicted, FP / (FP + TN); float64 [256]."""
        return pixel_counts.false_positive_share(self.background)


def checked_counts(name: str, counts: NDArray[np.integer], *, ndim: int) -> NDArray[np.int64]:
    """Return counts as a read-only int64 array; InputError where they cannot be pixel counts."""
    array = np.asarray(counts)
    expected = f"{name}: expected whole counts {'[256]' if ndim == 1 else '[N, 256]'}"
    if array.dtype.kind not in "iu":
        raise InputError(f"{expected}, got {array.dtype}")
    if array.ndim != ndim or array.shape[-1] != SCORE_LEVELS:
        raise InputError(f"{expected}, got the shape {list(array.shape)}")
    if array.size and array.min() < 0:
        raise InputError(f"{expected} of at least 0, got {array.min()}")
    frozen = array.astype(np.int64, copy=False).view()
    frozen.flags.writeable = False
    return frozen


def _check_region(name: str, region: NDArray[np.bool_], shape: tuple[int, ...]) -> None:
    _check_map(name, region, np.bool_)
    if region.shape != shape:
        raise InputError(
            f"{name}: expected the shape of the scores {list(shape)}, got {list(region.shape)}"
        )


def _check_map(name: str, array: object, dtype: type[np.generic]) -> None:
    expected = f"{name}: expected a NumPy array {np.dtype(dtype)} [H, W]"
    if not isinstance(array, np.ndarray):
        raise InputError(f"{expected}, got {type(array).__name__}")
    if array.dtype != dtype or array.ndim != 2:
        raise InputError(f"{expected}, got {array.dtype} {list(array.shape)}")


@dataclass(frozen=True, eq=False)
class HistogramStack:
    """The histograms of N images for one class.

    Curves are float64 [256], entry t for "foreground where score >= t". A curve over no image at
    all is NaN: the IoU where no image holds the class, the false positives where every image does.

    Attributes:
        foreground: integer [N, 256], kept as read-only int64: pixels of the class at each level.
        background: integer [N, 256], all other pixels that are not ignored.

    Raises:
        InputError: If the counts are not whole, not [N, 256], negative, or of different N.

    """

    foreground: NDArray[np.int64]
    background: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("foreground", "background"):
            object.__setattr__(self, name, checked_counts(name, getattr(self, name), ndim=2))
        if len(self.foreground) != len(self.background):
            raise InputError(
                f"background: expected as many images as foreground ({len(self.foreground)}), "
                f"got {len(self.background)}"
            )

    @classmethod
    def from_histograms(cls, histograms: Iterable[ScoreHistogram]) -> "HistogramStack":
        """Stack histograms, one for each image, in their order."""
        each = list(histograms)
        foreground = np.array([one.foreground for one in each], dtype=np.int64)
        background = np.array([one.background for one in each], dtype=np.int64)
        return cls(foreground.reshape(-1, SCORE_LEVELS), background.reshape(-1, SCORE_LEVELS))

    def __len__(self) -> int:
        return len(self.foreground)

    @cached_property
    def holds_class(self) -> NDArray[np.bool_]:
        """Return whether each image's mask has a pixel of the class; bool [N] (read-only)."""
        return _frozen(self.foreground.sum(axis=1) > 0)

    def total(self) -> ScoreHistogram:
        """Add up all images, those without the class included."""
        return self._of_all

    @cached_property
    def _of_all(self) -> ScoreHistogram:
        return ScoreHistogram(self.foreground.sum(axis=0), self.background.sum(axis=0))

    def total_with_class(self) -> ScoreHistogram:
        """Add up the positive images, those that hold the class."""
        return self._with_class

    @cached_property
    def _with_class(self) -> ScoreHistogram:
        # Kept, as each rule's threshold takes its figures from the same totals and curves.
        holds = self.holds_class
        return ScoreHistogram(
            self.foreground[holds].sum(axis=0), self.background[holds].sum(axis=0)
        )

    def pooled_scores(self, labelled: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return pixels per level of the images labelled with the class, wherever its mask lies.

        Rules without masks choose by these. An image whose map is 0 throughout adds no scores:
        it was gated out, or shows no contrast. Ignored pixels are in no histogram.

        Args:
            labelled: bool [N], the image-level labels.

        Returns:
            int64 [256].

        Raises:
            InputError: labels of another type or number.

        """
        if labelled.dtype != np.bool_ or labelled.shape != (len(self),):
            raise InputError(
                f"labelled: expected bool [{len(self)}], "
                f"got {labelled.dtype} {list(labelled.shape)}"
            )
        scores = (self.foreground + self.background)[labelled]
        return scores[scores[:, 1:].any(axis=1)].sum(axis=0)

    def iou(self) -> Curve:
        """Return each image's IoU per threshold, float64 [N, 256]; 0 without the class."""
        return pixel_counts.iou(self.foreground, self.background)

    def iou_at(self, level: int) -> NDArray[np.float64]:
        """Return each image's IoU at one level, float64 [N]: that column of `iou`, sooner."""
        hits = self.foreground[:, level:].sum(axis=1)
        union = self.foreground.sum(axis=1) + self.background[:, level:].sum(axis=1)
        return pixel_counts.share(hits, union)

    def per_image_iou(self) -> Curve:
        """Return the mean foreground IoU of images that hold the class: the thesis's mIoU."""
        return self._per_image_iou

    @cached_property
    def _per_image_iou(self) -> Curve:
        holds = self.holds_class
        return _frozen(_mean(pixel_counts.iou(self.foreground[holds], self.background[holds])))

    def pooled(self, *, all_images: bool = False) -> ScoreHistogram:
        """Add up all images, or the positive ones alone."""
        return self.total() if all_images else self.total_with_class()

    def dataset_iou(self, *, all_images: bool = False) -> Curve:
        """Return the foreground IoU of pooled pixels.

        Args:
            all_images: pool all images, as an accumulated confusion matrix does; else the positive
                images alone. Either is NaN where no image holds the class.

        Example:
            >>> foreground, background = np.zeros((2, 2, 256), int)  # of two images each
            >>> foreground[0, 200], background[1, 200] = 3, 1  # the second image is clear
            >>> stack = HistogramStack(foreground, background)
            >>> float(stack.dataset_iou()[200]), float(stack.dataset_iou(all_images=True)[200])
            (1.0, 0.75)

        """
        return self._or_nan(self.pooled(all_images=all_images).iou())

    def dataset_miou(self, *, all_images: bool = False) -> Curve:
        """Return the mean of pooled foreground and background IoU; for images see `dataset_iou`.

        Over all images it is the mIoU of PASCAL VOC.
        """
        pooled = self.pooled(all_images=all_images)
        return self._or_nan((pooled.iou() + pooled.background_iou()) / 2)

    def precision(self, *, all_images: bool = False) -> Curve:
        """Return the precision of pooled pixels; for images see `dataset_iou`."""
        return self._or_nan(self.pooled(all_images=all_images).precision())

    def recall(self) -> Curve:
        """Return the recall of pooled pixels; images without the class cannot change it."""
        return self._or_nan(self.total_with_class().recall())

    def clear_false_positive_share(self) -> Curve:
        """Return the mean share of pixels predicted as the class over images without it."""
        return self._clear_share

    @cached_property
    def _clear_share(self) -> Curve:
        return _frozen(_mean(pixel_counts.false_positive_share(self.background[~self.holds_class])))

    def with_images_of(self, other: "HistogramStack", where: NDArray[np.bool_]) -> "HistogramStack":
        """Return the stack with some images' histograms taken from another one.

        Args:
            other: of the same images.
            where: bool [N], whose histograms are the other's.

        """
        chosen = where[:, np.newaxis]
        return HistogramStack(
            np.where(chosen, other.foreground, self.foreground),
            np.where(chosen, other.background, self.background),
        )

    def cut_at(self, levels: NDArray[np.float64]) -> "HistogramStack":
        """Move pixels that reach their image's own level to level 255, the others to 0.

        Args:
            levels: float [N]; NaN for an image in which nothing is predicted.

        """
        reached = np.arange(SCORE_LEVELS) >= levels[:, np.newaxis]  # false throughout for NaN
        cut = []
        for counts in (self.foreground, self.background):
            ends = np.zeros_like(counts)
            ends[:, -1] = (counts * reached).sum(axis=1)
            ends[:, 0] = counts.sum(axis=1) - ends[:, -1]
            cut.append(ends)
        return HistogramStack(*cut)

    def _or_nan(self, curve: Curve) -> Curve:
        return curve if self.holds_class.any() else np.full(SCORE_LEVELS, np.nan)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _mean(per_image: Curve) -> Curve:
    return per_image.mean(axis=0) if len(per_image) else np.full(SCORE_LEVELS, np.nan)
