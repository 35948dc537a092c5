"""The score histogram of one class: a map and its mask, at every threshold at once.

It holds the number of foreground and of background pixels at each of 256 score levels. Histograms
add, so an image's, a frame's and a data set's are the same kind of thing, and each yields IoU,
precision and recall at all thresholds from one pass over the pixels, exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate import curves
from wsss_core.evaluate.curves import Curve
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, count_by_region


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
        foreground, background = count_by_region(
            scores.ravel(), mask.ravel(), None if ignore is None else ignore.ravel()
        )
        return cls(foreground, background)

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
        return curves.iou(self.foreground, self.background)

    def background_iou(self) -> Curve:
        """Return the background's intersection over union, TN / (TN + FP + FN); float64 [256]."""
        return curves.background_iou(self.foreground, self.background)

    def precision(self) -> Curve:
        """Return the share of predicted pixels of the class, TP / (TP + FP); float64 [256]."""
        return curves.precision(self.foreground, self.background)

    def recall(self) -> Curve:
        """Return the share of the class's pixels predicted, TP / (TP + FN); float64 [256]."""
        return curves.recall(self.foreground)

    def false_positive_share(self) -> Curve:
        """Return the share of background pixels predicted, FP / (FP + TN); float64 [256]."""
        return curves.false_positive_share(self.background)


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
