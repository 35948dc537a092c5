"""Score maps against their masks at every threshold, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_core.errors import InputError, quoted
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve
from wsss_core.evaluate.score_histogram import HistogramStack, ScoreHistogram
from wsss_core.evaluate.score_maps import as_array, quantise
from wsss_core.evaluate.thresholds import Objective, member_named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

IGNORE_VALUE = 255
"""The value of a mask's pixels that count for nothing, as in PASCAL VOC."""


@dataclass(frozen=True)
class BestThreshold:
    """Where a sweep's IoU is highest; of several equally good thresholds the lowest.

    Attributes:
        threshold: the score in 0..1 from which a pixel is predicted as the class, level / 255.
        level: the same as a level 0-255.
        iou: there, 0..1, by the sweep's objective.
        precision: there, of the positive images' pixels, pooled; of the pixels of all images if
            the objective is.
        recall: there, of the same pixels.

    """

    threshold: float
    level: int
    iou: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class ThresholdSweep:
    """IoU, precision and recall of score maps at each of 256 thresholds.

    Figures are over the positive images, whose mask holds the class, and NaN if there is none. An
    objective that ends in "_all_images" counts the other images too.

    Attributes:
        histograms: the counts behind the figures, an image each.
        objective: the IoU that is taken: "per_image_iou" (the mean of the images' own),
            "dataset_iou" (of the positive images' pixels, pooled), "dataset_miou" (with the
            background's), and "dataset_iou_all_images" and "dataset_miou_all_images" (of the pixels
            of all images, as an accumulated confusion matrix gives them).

    """

    histograms: HistogramStack
    objective: Objective = Objective.PER_IMAGE_IOU

    def __repr__(self) -> str:
        found = "no mask holds the class"
        if self.histograms.holds_class.any():
            found = f"{self.best.iou:.4f} at the threshold {self.best.threshold:.4f}"
        images = len(self.histograms.holds_class)
        return f"ThresholdSweep({images} image{'s' * (images > 1)}; {self.objective}: {found})"

    @property
    def thresholds(self) -> Curve:
        """Return the thresholds, float64 [256] from 0 to 1: foreground where score >= threshold."""
        return np.arange(SCORE_LEVELS) / (SCORE_LEVELS - 1)

    @property
    def iou(self) -> Curve:
        """Return the IoU at each threshold, float64 [256] in 0..1."""
        return self.objective.curve(self.histograms)

    @property
    def precision(self) -> Curve:
        """Return the precision at each threshold over the objective's images, float64 [256]."""
        return self.histograms.precision(all_images=self.objective.over_all_images)

    @property
    def recall(self) -> Curve:
        """Return the recall at each threshold, of pooled pixels, float64 [256]."""
        return self.histograms.recall()

    @property
    def best(self) -> BestThreshold:
        """Return the threshold of the highest IoU. It has seen the masks: an upper bound.

        Raises:
            InputError: no mask holds the class.

        """
        if not self.histograms.holds_class.any():
            raise InputError("mask: expected a pixel of the class in at least one mask, got none")
        level = int(self.iou.argmax())
        curves = (self.thresholds, self.iou, self.precision, self.recall)
        threshold, iou, precision, recall = (float(curve[level]) for curve in curves)
        return BestThreshold(threshold, level, iou, precision, recall)

    def frame(self) -> "pd.DataFrame":
        """Return a data frame of threshold, iou, precision and recall, 256 rows."""
        import pandas as pd

        names = ("thresholds", "iou", "precision", "recall")
        curves = {name.removesuffix("s"): getattr(self, name) for name in names}
        return pd.DataFrame(curves)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the three curves over the threshold and mark the best; return matplotlib's axes.

        Args:
            axes: where to draw; None: the axes of a new figure.

        """
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")[1]
        for name, style in (("iou", "-"), ("precision", "--"), ("recall", ":")):
            label = "IoU" if name == "iou" else name
            axes.plot(self.thresholds, getattr(self, name), style, label=label)
        best = self.best
        axes.plot(best.threshold, best.iou, "o", color="C0")
        said = f"{best.iou:.3f} at {best.threshold:.3f}"
        axes.annotate(said, (best.threshold, best.iou), (4, 4), textcoords="offset points")
        axes.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False)
        return axes


def threshold_sweep(
    scores: ArrayLike | Sequence[ArrayLike],
    mask: ArrayLike | Sequence[ArrayLike],
    *,
    ignore: int | ArrayLike | Sequence[ArrayLike] | None = None,
    objective: Objective | str = Objective.PER_IMAGE_IOU,
) -> ThresholdSweep:
    """Compare score maps of one class with their masks at all 256 thresholds.

    Args:
        scores: one map [H, W] or a batch [B, H, W], floats in 0..1 (rounded to 256 levels) or uint8
            levels; or a list of maps of different sizes.
        mask: for each map, of its size: bool, or whole numbers with 1 for the class, 0 for the
            rest and 255 for pixels that count for nothing.
        ignore: which pixels count for nothing: a bool array of the mask's shape, or the mask's
            value for them. None: 255, unless the mask holds nothing but 0 and 255.
        objective: the IoU that is taken of a batch, see `ThresholdSweep`.

    Raises:
        InputError: other shapes, types or values; a mask of 0 and 255 alone, whose 255 may stand
            for the class.

    Example:
        >>> scores = np.array([[0.9, 0.7], [0.6, 0.1]])
        >>> mask = np.array([[1, 1], [0, 255]])
        >>> sweep = threshold_sweep(scores, mask)
        >>> sweep.best.level, sweep.best.iou, round(sweep.best.threshold, 3)
        (154, 1.0, 0.604)
        >>> sweep.iou[[0, 153, 154, 179]].round(3).tolist()
        [0.667, 0.667, 1.0, 0.5]

    """
    chosen = member_named(Objective, "objective", objective)
    maps = _each("scores", scores)
    masks = _each("mask", mask)
    if len(maps) != len(masks):
        raise InputError(f"mask: expected one for each of {len(maps)} score maps, got {len(masks)}")
    by_value = ignore is None or isinstance(ignore, int | np.integer)
    ignored: list[Any] = [ignore] * len(maps) if by_value else _each("ignore", ignore)
    if len(ignored) != len(maps):
        raise InputError(
            f"ignore: expected one array for each of {len(maps)} score maps, got {len(ignored)}"
        )
    if ignore is None:
        _check_which_255(masks)
    histograms = []
    for one, held, left_out in zip(maps, masks, ignored, strict=True):
        levels = _levels(one)
        if held.shape != levels.shape:
            raise InputError(
                f"mask: expected the scores' size {list(levels.shape)}, got {list(held.shape)}; "
                "wsss_core.evaluate.resize brings scores to the mask's"
            )
        region, out = _read_mask(held, IGNORE_VALUE if left_out is None else left_out)
        histograms.append(ScoreHistogram.from_scores(levels, region, ignore=out))
    return ThresholdSweep(HistogramStack.from_histograms(histograms), chosen)


def _each(name: str, given: Any) -> list[NDArray[Any]]:
    """Return the arrays [H, W] of one, of a batch, or of a list."""
    parts = given if isinstance(given, list | tuple) else None
    if parts and np.ndim(parts[0]) >= 2:
        arrays = [as_array(part) for part in parts]
    else:
        try:
            array = as_array(given)
        except ValueError as error:
            raise InputError(f"{name}: expected rows of one length, got {quoted(given)}") from error
        arrays = [array] if array.ndim == 2 else list(array) if array.ndim == 3 else [array]
        if array.ndim == 3 and not len(array):
            raise InputError(
                f"{name}: expected at least one map, got the shape {list(array.shape)}"
            )
    for array in arrays:
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(
                f"{name}: expected [H, W], [B, H, W] or a list of [H, W], "
                f"got the shape {list(array.shape)}"
            )
    return arrays


def _levels(scores: NDArray[Any]) -> NDArray[np.uint8]:
    if scores.dtype == np.uint8:
        return np.ascontiguousarray(scores)
    if scores.dtype.kind != "f":
        raise InputError(
            f"scores: expected floats in 0..1 or uint8 levels 0-255, got {scores.dtype}"
        )
    return np.ascontiguousarray(quantise(scores))


def _check_which_255(masks: Sequence[NDArray[Any]]) -> None:
    """Raise InputError if 255 may stand for the class: no mask holds a 1."""
    numbered = [mask for mask in masks if mask.dtype.kind in "iu"]
    held = {int(value) for mask in numbered for value in np.unique(mask)}
    if IGNORE_VALUE in held and 1 not in held:
        raise InputError(
            "mask: holds 255 and no 1, so 255 may be the class or ignored; expected "
            "mask == 255 where it is the class, or ignore=255 where it counts for nothing"
        )


def _read_mask(
    mask: NDArray[Any], ignore: Any
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Return where a mask holds the class, and where it counts for nothing."""
    if mask.dtype.kind not in "biu":
        raise InputError(f"mask: expected bool, or whole numbers 0, 1 and 255, got {mask.dtype}")
    out: NDArray[np.bool_] | None = None
    if isinstance(ignore, np.ndarray):
        if ignore.dtype != np.bool_ or ignore.shape != mask.shape:
            raise InputError(
                f"ignore: expected a number, or bool of the mask's shape {list(mask.shape)}, "
                f"got {ignore.dtype} {list(ignore.shape)}"
            )
        out = ignore
    elif mask.dtype.kind != "b":
        out = mask == ignore
    counted = mask if out is None else mask[~out]
    if mask.dtype.kind != "b" and counted.size and (counted.min() < 0 or counted.max() > 1):
        others = sorted({int(value) for value in np.unique(counted)} - {0, 1})
        raise InputError(
            "mask: expected 1 for the class, 0 for the rest and 255 for ignored pixels, got "
            f"{quoted(others)}; compare it with the class's number first, mask == {others[-1]}"
        )
    return mask.astype(bool), out if out is not None and out.any() else None
