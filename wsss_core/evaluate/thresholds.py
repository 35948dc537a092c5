"""Where to cut a score map, and what that choice has seen of the answer.

A threshold chosen with the test masks at hand is an upper bound, not a result, so every rule names
the masks it peeks at and the choice carries the name. The thesis's "optimal threshold" (arXiv
2507.21959) is the per-image oracle; its other numbers use a fixed 0.3. Two rules need no mask at
all.

A rule can also be a researcher's own, "module:attribute", called with all that a rule may see:

    VERSION = 1

    def halfway(tune, scores):
        return int(np.searchsorted(np.cumsum(scores), scores.sum() / 2))

    halfway.peeks_at = "the test images' scores"

`tune` is the tune split's `HistogramStack`, None where there is none; of several classes, that of
the highest score against the mask of any class. `scores`, int64 [256], are the pixels per level of
the test images that carry the label. The answer is a level 0-255, or None where the rule finds
none. Without `peeks_at` the tables say that it declares nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError, as_input_error
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve
from wsss_core.evaluate.score_histogram import HistogramStack
from wsss_core.evaluate.unsupervised import gaussian_mixture_level, otsu_level
from wsss_core.plugins import is_plugin, load_plugin


class NoThresholdError(InputError):
    """A rule has nothing to choose by; the message says what it lacks."""


class ThresholdRule(StrEnum):
    """How a threshold is chosen, from the rule that sees least to the one that sees most."""

    FIXED = "fixed"
    """A value set before anything is seen."""
    OTSU = "otsu"
    """The level that best separates the scores of the test images that carry the label."""
    GAUSSIAN_MIXTURE = "gaussian_mixture"
    """Where the upper of two Gaussians under the same scores takes over."""
    TUNED = "tuned"
    """The best level on a disjoint split with masks."""
    DATASET_ORACLE = "dataset_oracle"
    """The best single level on the test split itself."""
    IMAGE_ORACLE = "image_oracle"
    """The best level for each test image against its own mask."""

    @property
    def peeks_at(self) -> str:
        """Return how much of the masks the rule has seen, in words for a table."""
        return _PEEKS_AT[self]

    @property
    def is_oracle(self) -> bool:
        """Return whether the rule's figure is an upper bound rather than a result."""
        return self in (ThresholdRule.DATASET_ORACLE, ThresholdRule.IMAGE_ORACLE)


_PEEKS_AT = {
    ThresholdRule.FIXED: "nothing",
    ThresholdRule.OTSU: "scores and image-level labels",
    ThresholdRule.GAUSSIAN_MIXTURE: "scores and image-level labels",
    ThresholdRule.TUNED: "the tune split's masks",
    ThresholdRule.DATASET_ORACLE: "the test masks",
    ThresholdRule.IMAGE_ORACLE: "each test image's mask",
}
_WITHOUT_MASKS = {
    ThresholdRule.OTSU: otsu_level,
    ThresholdRule.GAUSSIAN_MIXTURE: gaussian_mixture_level,
}


class Objective(StrEnum):
    """The curve whose maximum a rule looks for.

    Pooled figures are over the positive images, which hold the class; the last two are over all.
    """

    PER_IMAGE_IOU = "per_image_iou"
    DATASET_IOU = "dataset_iou"
    DATASET_MIOU = "dataset_miou"
    DATASET_IOU_ALL_IMAGES = "dataset_iou_all_images"
    DATASET_MIOU_ALL_IMAGES = "dataset_miou_all_images"

    @property
    def over_all_images(self) -> bool:
        """Whether images without the class count."""
        return self.endswith(_ALL_IMAGES)

    @property
    def figure(self) -> str:
        """Return the figure's name without its images, a method of `HistogramStack`."""
        return self.removesuffix(_ALL_IMAGES)

    def curve(self, stack: HistogramStack) -> Curve:
        """Compute the objective at every level, float64 [256]."""
        if self is Objective.PER_IMAGE_IOU:
            return stack.per_image_iou()
        pooled = stack.dataset_iou if self.figure == "dataset_iou" else stack.dataset_miou
        return pooled(all_images=self.over_all_images)


_ALL_IMAGES = "_all_images"


@dataclass(frozen=True, eq=False)
class ThresholdChoice:
    """A chosen threshold.

    Attributes:
        rule: The rule that chose it; a plug-in's "module:attribute".
        peeks_at: How much of the masks the rule has seen, in words.
        level: 0-255, foreground where score >= level; None under the per-image oracle.
        image_levels: Under the per-image oracle each image's own level, float64 [N], NaN for an
            image without the class (it has no mask to peek at); None under every other rule.

    """

    rule: str
    peeks_at: str
    level: int | None
    image_levels: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Evaluation:
    """The figures at a chosen threshold, each in [0, 1]; NaN where no image is there to give it.

    Attributes:
        per_image_iou: Mean foreground IoU over the positive images, which hold the class.
        dataset_iou: Foreground IoU of the positive images' pixels, pooled.
        dataset_miou: Mean of foreground and background IoU of the same pooled pixels.
        dataset_iou_all_images: Foreground IoU of the pixels of all images, pooled, as an
            accumulated confusion matrix gives it; NaN under the per-image oracle, which chooses no
            threshold for an image without the class.
        dataset_miou_all_images: Mean of foreground and background IoU of the same pooled pixels.
        clear_false_positive_share: Mean share of pixels predicted as the class on images without
            it.
        precision: Precision of the positive images' pixels, pooled.
        recall: Recall of the same pixels; over all images it is the same.
        precision_all_images: Precision of the pixels of all images, pooled.

    """

    per_image_iou: float
    dataset_iou: float
    dataset_miou: float
    dataset_iou_all_images: float
    dataset_miou_all_images: float
    clear_false_positive_share: float
    precision: float
    recall: float
    precision_all_images: float


def level_of(value: float) -> int:
    """Return the smallest level t with t / 255 >= value, for a threshold value in [0, 1]."""
    if not 0 <= value <= 1:  # NaN fails too
        raise InputError(f"fixed threshold: expected a value in [0, 1], got {value}")
    return int(np.searchsorted(np.arange(SCORE_LEVELS) / (SCORE_LEVELS - 1), value))


def choose_threshold(
    rule: ThresholdRule | str,
    *,
    tune: HistogramStack | None = None,
    test: HistogramStack | None = None,
    scores: NDArray[np.int64] | None = None,
    objective: Objective | str = Objective.PER_IMAGE_IOU,
    fixed: float = 0.3,
) -> ThresholdChoice:
    """Choose where to cut. Of several equally good levels the smallest is taken.

    Args:
        rule: Which rule chooses; it sees no more than it says it peeks at. A rule of one's own is
            named "module:attribute" and sees `tune` and `scores`.
        tune: The tune split's histograms; needed by `tuned`.
        test: The test split's histograms; needed by both oracles.
        scores: int64 [256], the pixels per level of the test images that carry the class's label
            (`HistogramStack.pooled_scores`), for the rules without masks. They are pooled, as one
            map's histogram says little of a small object.
        objective: What `tuned` and `dataset_oracle` maximise. The per-image oracle maximises each
            image's foreground IoU.
        fixed: The score in [0, 1] at which `fixed` cuts.

    Raises:
        NoThresholdError: Histograms that the rule needs and lacks, or in which no image holds the
            class; scores that show no two groups; a rule of one's own that answers None.
        InputError: For an unknown rule or objective, a fixed value outside [0, 1], or a rule of
            one's own that fails.

    """
    objective = member_named(Objective, "objective", objective)
    if is_plugin(rule):
        own = load_own_rule(rule)
        found = own.level(tune, _needed(rule, scores))
        return ThresholdChoice(rule, own.peeks_at, _found(rule, found))
    rule = member_named(ThresholdRule, "threshold rule", rule)
    if rule is ThresholdRule.FIXED:
        return ThresholdChoice(rule, rule.peeks_at, level_of(fixed))
    if rule in _WITHOUT_MASKS:
        found = _WITHOUT_MASKS[rule](_needed(rule, scores))
        return ThresholdChoice(rule, rule.peeks_at, _found(rule, found))
    split = "tune" if rule is ThresholdRule.TUNED else "test"
    stack = tune if rule is ThresholdRule.TUNED else test
    if stack is None:
        raise NoThresholdError(f"threshold rule {rule}: expected histograms of the {split} split")
    holds = stack.holds_class
    if not holds.any():
        raise NoThresholdError(
            f"threshold rule {rule}: expected an image that holds the class in the {split} split, "
            f"got none in {len(stack)}"
        )
    if rule is ThresholdRule.IMAGE_ORACLE:
        levels = np.where(holds, stack.iou().argmax(axis=1), np.nan)
        return ThresholdChoice(rule, rule.peeks_at, None, levels)
    return ThresholdChoice(rule, rule.peeks_at, int(objective.curve(stack).argmax()))


def _needed(rule: str, scores: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if scores is None:
        raise NoThresholdError(f"threshold rule {rule}: expected the scores of the test split")
    return scores


def _found(rule: str, level: int | None) -> int:
    if level is None:
        raise NoThresholdError(f"threshold rule {rule}: no level separates the scores")
    return level


def evaluate(choice: ThresholdChoice, test: HistogramStack) -> Evaluation:
    """Take every figure at the chosen threshold.

    Under the per-image oracle each image is cut at its own level and the pooled figures add up the
    counts that result. Images without the class have no level there, so their false positives and
    all figures over all images are NaN.

    Args:
        choice: From `choose_threshold`; one of the per-image oracle must come from these very
            histograms.
        test: The test split's histograms.

    Raises:
        InputError: If the choice is one level per image and the images are not the same.

    """
    if choice.image_levels is None:
        level, cut = choice.level, test
        if level is None or not 0 <= level < SCORE_LEVELS:
            raise InputError(f"threshold choice: expected a level 0-255, got {level}")
    else:
        if choice.image_levels.shape != (len(test),) or not np.array_equal(
            ~np.isnan(choice.image_levels), test.holds_class
        ):
            raise InputError(
                "threshold choice: expected the images that the per-image oracle saw, got others"
            )
        level, cut = SCORE_LEVELS - 1, test.cut_at(choice.image_levels)
    unknown = float("nan")
    oracle = choice.image_levels is not None
    return Evaluation(
        per_image_iou=float(cut.per_image_iou()[level]),
        dataset_iou=float(cut.dataset_iou()[level]),
        dataset_miou=float(cut.dataset_miou()[level]),
        dataset_iou_all_images=unknown
        if oracle
        else float(cut.dataset_iou(all_images=True)[level]),
        dataset_miou_all_images=(
            unknown if oracle else float(cut.dataset_miou(all_images=True)[level])
        ),
        clear_false_positive_share=(
            unknown if oracle else float(cut.clear_false_positive_share()[level])
        ),
        precision=float(cut.precision()[level]),
        recall=float(cut.recall()[level]),
        precision_all_images=unknown if oracle else float(cut.precision(all_images=True)[level]),
    )


_Member = TypeVar("_Member", bound=StrEnum)


def member_named(kind: type[_Member], what: str, name: str) -> _Member:
    """Return the member of that value; InputError that lists the known ones if there is none."""
    try:
        return kind(name)
    except ValueError:
        raise InputError(f"{what} {name!r}: expected one of {', '.join(kind)}") from None


NOT_DECLARED = "not declared"


@dataclass(frozen=True)
class OwnRule:
    """A rule that a name stands for.

    Attributes:
        name: "module:attribute".
        peeks_at: How much of the masks it says it has seen.
        choose: The object itself.

    """

    name: str
    peeks_at: str
    choose: Callable[[HistogramStack | None, NDArray[np.int64]], Any]

    def level(self, tune: HistogramStack | None, scores: NDArray[np.int64]) -> int | None:
        """Return the level it chooses, 0-255, or None.

        Raises:
            InputError: It raised, or answered with something that is no level.

        """
        # Whatever a user's rule raises is the user's to read, in one line.
        with as_input_error(f"threshold rule {self.name!r} failed", Exception, named=True):
            level = self.choose(tune, scores)
        if level is None:
            return None
        whole = isinstance(level, int | np.integer) and not isinstance(level, bool)
        if not whole or not 0 <= level < SCORE_LEVELS:
            raise InputError(
                f"threshold rule {self.name!r}: expected a whole level 0-255 or None, got {level!r}"
            )
        return int(level)


def load_own_rule(name: str) -> OwnRule:
    """Import a rule; its module is looked for as `wsss_core.plugins.load_plugin` says.

    Raises:
        InputError: It cannot be loaded or called, declares no version, or `peeks_at` is no text.

    """
    found = load_plugin("threshold rule", name)
    peeks_at = getattr(found, "peeks_at", NOT_DECLARED)
    if not isinstance(peeks_at, str) or not peeks_at.strip():
        raise InputError(f"threshold rule {name!r}: expected peeks_at to be text, got {peeks_at!r}")
    return OwnRule(name, peeks_at, found)
