"""Diagnostics of CAMs: which regions a map lies on, which things in an image a logit needs.

A network may also say nothing (`collapse_reason`): its results are no number to average, but a
finding. All is read from score histograms, peaks and logits: nothing here opens an image. Pointing
game: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Counts, share

CAM_REGIONS = ("object", "context", "ring", "elsewhere")


@dataclass(frozen=True)
class MassShares:
    """Where the mass of a map lies: means over images, in [0, 1]; NaN where that is not known.

    Attributes:
        object: on the class's own pixels.
        context: on what accompanies the class.
        ring: on a ring around the object.
        elsewhere: on the rest.
        object_pixels: the object's share of the pixels: what a map without any shape would have.
            Over all images, those with an empty map included, so that it is one number for all
            networks that saw them.

    """

    object: float
    context: float
    ring: float
    elsewhere: float
    object_pixels: float


def mass_shares(
    foreground: Counts, background: Counts, context: Counts | None, ring: Counts | None
) -> MassShares:
    """Return the share of the CAM's mass, the sum of its scores, in each region.

    Args:
        foreground: pixels of the class per score level of N images that hold it, [N, 256].
        background: all their other pixels.
        context: those of them that are context; None where it is unknown.
        ring: those of them on the ring, context excluded; None where it is unknown.

    Returns:
        Means over the images whose map has any mass. What is in no known region is elsewhere.

    Raises:
        InputError: counts of different shapes, or regions that hold more than the background.

    Example:
        >>> levels = np.eye(256, dtype=int)  # a row: one pixel at that level
        >>> shares = mass_shares(levels[[255]], levels[[85]] + levels[[0]], levels[[85]], None)
        >>> shares.object, shares.context, round(shares.object_pixels, 3)
        (0.75, 0.25, 0.333)

    """
    for name, counts in (("background", background), ("context", context), ("ring", ring)):
        if counts is not None and counts.shape != foreground.shape:
            raise InputError(
                f"{name}: expected the foreground's shape {list(foreground.shape)}, "
                f"got {list(counts.shape)}"
            )
    # Whole numbers until the last division: unsigned counts would wrap below 0.
    outside = background.astype(np.int64)
    for counts in (context, ring):
        outside = outside if counts is None else outside - counts.astype(np.int64)
    if outside.size and outside.min() < 0:
        raise InputError("context and ring: expected disjoint parts of the background, got more")
    weight = np.arange(SCORE_LEVELS)
    whole = (foreground + background) @ weight
    some = whole > 0

    def mean_share(counts: Counts | None) -> float:
        if counts is None or not some.any():
            return float("nan")
        return float(((counts[some] @ weight) / whole[some]).mean())

    pixels = foreground.sum(axis=1) / (foreground + background).sum(axis=1)
    return MassShares(
        mean_share(foreground),
        mean_share(context),
        mean_share(ring),
        mean_share(outside),
        float(pixels.mean()) if len(pixels) else float("nan"),
    )


def confusion_ratio(foreground: Counts, background: Counts, level: int) -> float:
    """Return FP / TP of the pixels at or above a level, pooled over images with the class.

    NaN where no pixel of the class is found: both where nothing is marked and where only other
    pixels are. Such a trial is missing from a mean, so read the mean beside its n.

    >>> confusion_ratio(np.full((1, 256), 1), np.full((1, 256), 3), 100)
    3.0
    """
    _check_level(level)
    if foreground.shape != background.shape:
        raise InputError(
            f"background: expected the foreground's shape {list(foreground.shape)}, "
            f"got {list(background.shape)}"
        )
    found = int(foreground[:, level:].sum())
    return float(background[:, level:].sum() / found) if found else float("nan")


def false_positive_area(
    background: Counts, logits: NDArray[np.floating], level: int, *, gated: bool
) -> float:
    """Return the mean share of an image's pixels marked, over images without the class.

    Args:
        background: [N, 256] of the images without the class; one whose pixels are all ignored
            counts as unmarked, as in `HistogramStack.clear_false_positive_share`.
        logits: float [N] of the class.
        level: 0-255; a pixel at or above it is marked.
        gated: an image whose logit is not above 0 counts as unmarked.

    Raises:
        InputError: a level outside 0-255, or logits of another number of images.

    """
    _check_level(level)
    if logits.shape != (len(background),):
        raise InputError(
            f"logits: expected one for each of {len(background)} images, got {list(logits.shape)}"
        )
    if not len(background):
        return float("nan")
    marked = share(background[:, level:].sum(axis=1), background.sum(axis=1))
    return float(np.where(logits > 0, marked, 0.0).mean() if gated else marked.mean())


def pointing_game(peaks: Sequence[str]) -> dict[str, float]:
    """Return the share of images whose map peaks in each region; "nowhere" misses them all.

    >>> pointing_game(["object", "context", "object", "nowhere"])["object"]
    0.5
    """
    count = len(peaks)
    return {
        region: sum(peak == region for peak in peaks) / count if count else float("nan")
        for region in CAM_REGIONS
    }


@dataclass(frozen=True)
class CounterfactualReliance:
    """How the logit of images that hold the class falls when the object or its context is gone.

    Attributes:
        on_object: mean fall of the logit without the object.
        on_context: mean fall without the context, over the images that have one.
        context_share: |on_context| / (|on_context| + |on_object|), of these two means: the first is
            over the images with a context, the second over all.
        flips: share of the images found (logit above 0) that are lost without the context.

    """

    on_object: float
    on_context: float
    context_share: float
    flips: float


def reliance(
    logits: NDArray[np.floating],
    without_object: NDArray[np.floating],
    without_context: NDArray[np.floating],
) -> CounterfactualReliance:
    """Measure the counterfactual reliance on one class's object and context.

    Args:
        logits: float [N] of the images that hold the class.
        without_object: float [N], the same scenes without the object; NaN where unknown.
        without_context: float [N], without the context; NaN where there is none, or unknown.

    Raises:
        InputError: logits of different numbers of images.

    Example:
        >>> found = reliance(np.array([2.0, 4.0]), np.array([1.0, 1.0]), np.array([-1.0, np.nan]))
        >>> found.on_object, found.on_context, found.context_share, found.flips
        (2.0, 3.0, 0.6, 1.0)

    """
    for name, other in (("without_object", without_object), ("without_context", without_context)):
        if other.shape != logits.shape or logits.ndim != 1:
            raise InputError(
                f"{name}: expected [N] as the logits, {list(logits.shape)}, got {list(other.shape)}"
            )

    def mean(values: NDArray[np.floating]) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    on_object, on_context = mean(logits - without_object), mean(logits - without_context)
    both = abs(on_object) + abs(on_context)
    found = (logits > 0) & ~np.isnan(without_context)
    return CounterfactualReliance(
        on_object,
        on_context,
        abs(on_context) / both if both else float("nan"),
        float((without_context[found] <= 0).mean()) if found.any() else float("nan"),
    )


def _check_level(level: int) -> None:
    if not 0 <= level < SCORE_LEVELS:
        raise InputError(f"level: expected 0-255, got {level}")


SAME_LOGITS = 1e-3
"""Logits that differ by no more than this over all images change a probability by at most 0.025
points of a hundred, as the sigmoid's slope is at most 1/4."""

SAME_FLOATS = 4 * float(np.finfo(np.float32).eps)
"""Or by no more than this share of the greatest of them: four to eight steps of float32, so that
rounding alone does not pass for a difference. It exceeds `SAME_LOGITS` only for logits beyond
2,000."""

ALMOST_ALL = 0.99
"""The share of images whose map has to be degenerate."""

_LOW, _HIGH = 25, 230  # a tenth from either end of 256 levels


def collapse_reason(levels: NDArray[np.integer], logits: NDArray[np.floating]) -> str | None:
    """Return why scores say nothing, or None if they say something, right or wrong.

    Args:
        levels: pixels per score level of each image, [N, 256]. Maps that were emptied because the
            network predicts no class there are not to be among them: such silence is a prediction.
        logits: float [N, K], also of another number of images than `levels`.

    Returns:
        "constant logits" (no class's logit differs between images by more than `SAME_LOGITS` or
        rounding), "empty CAMs", "full CAMs" or "flat CAMs" (of almost all images the map has one
        level: low, high, or between), or None. Of one image logits are never constant; of no
        image nothing is degenerate.

    """
    if len(logits) > 1:
        same = np.maximum(SAME_LOGITS, SAME_FLOATS * np.abs(logits).max(axis=0))
        if (np.ptp(logits, axis=0) <= same).all():
            return "constant logits"
    if not len(levels):
        return None
    flat = (levels > 0).sum(axis=1) == 1
    if flat.mean() >= ALMOST_ALL:
        level = float(np.median(levels[flat].argmax(axis=1)))
        kind = "empty" if level < _LOW else "full" if level > _HIGH else "flat"
        return f"{kind} CAMs"
    return None
