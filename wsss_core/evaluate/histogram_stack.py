"""Score histograms of many images, and the definitions of IoU that differ in how images are pooled.

Three figures go by the name mIoU in this field. The thesis (arXiv 2507.21959) averages each image's
foreground IoU; PASCAL VOC pools the pixels of all images first and averages the IoU of foreground
and background. All are here, over the images that hold the class; what a classifier marks on the
others is a figure of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate import curves
from wsss_core.evaluate.curves import Curve
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS
from wsss_core.evaluate.score_histogram import ScoreHistogram, checked_counts


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
        return ScoreHistogram(self.foreground.sum(axis=0), self.background.sum(axis=0))

    def total_with_class(self) -> ScoreHistogram:
        """Add up the images that hold the class: what the dataset-level IoU is taken from."""
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
        pooled: NDArray[np.int64] = scores[scores[:, 1:].any(axis=1)].sum(axis=0)
        return pooled

    def iou(self) -> Curve:
        """Return each image's IoU per threshold, float64 [N, 256]; 0 without the class."""
        return curves.iou(self.foreground, self.background)

    def per_image_iou(self) -> Curve:
        """Return the mean foreground IoU of images that hold the class: the thesis's mIoU."""
        return self._per_image_iou

    @cached_property
    def _per_image_iou(self) -> Curve:
        holds = self.holds_class
        return _frozen(_mean(curves.iou(self.foreground[holds], self.background[holds])))

    def dataset_iou(self) -> Curve:
        """Return the foreground IoU of the pixels of all images that hold the class, pooled."""
        return self._pooled(self.total_with_class().iou())

    def dataset_miou(self) -> Curve:
        """Return the mean of pooled foreground and background IoU: the mIoU of PASCAL VOC."""
        pooled = self.total_with_class()
        return self._pooled((pooled.iou() + pooled.background_iou()) / 2)

    def precision(self) -> Curve:
        """Return the precision of the pixels of all images that hold the class, pooled."""
        return self._pooled(self.total_with_class().precision())

    def recall(self) -> Curve:
        """Return the recall of the pixels of all images that hold the class, pooled."""
        return self._pooled(self.total_with_class().recall())

    def clear_false_positive_share(self) -> Curve:
        """Return the mean share of pixels predicted as the class over images without it."""
        return self._clear_share

    @cached_property
    def _clear_share(self) -> Curve:
        return _frozen(_mean(curves.false_positive_share(self.background[~self.holds_class])))

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

    def _pooled(self, curve: Curve) -> Curve:
        return curve if self.holds_class.any() else np.full(SCORE_LEVELS, np.nan)


_Array = TypeVar("_Array", bound=NDArray[Any])


def _frozen(array: _Array) -> _Array:
    array.flags.writeable = False
    return array


def _mean(per_image: Curve) -> Curve:
    return per_image.mean(axis=0) if len(per_image) else np.full(SCORE_LEVELS, np.nan)
