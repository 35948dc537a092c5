"""Whether a network is at chance: then no comparison is won by it.

Its maps follow no class. It is at chance for a class unless the 95 % interval of its balanced
accuracy lies above 50 %. Images are the sample, or their groups (frames, clips, patients) where
images share them, because images of a group are alike: the interval is Newcombe's hybrid score
interval (Statistics in Medicine 17, 1998, method 10), as balanced accuracy is half of one plus a
difference of two proportions. It keeps its width where a rate is 0 or 1, so few images do not pass
for certainty. Rates are means over healthy seeds, which share images.
"""

import math
from dataclasses import dataclass

from reports.names import MEAN_OF_CLASSES
from reports.results.study_record import StudyRecord
from reports.statistics import summarise_pairs
from wsss_core.evaluate.reasons import score_interval

CHANCE = 0.5


@dataclass(frozen=True)
class BalancedAccuracy:
    """The balanced accuracy of a configuration's student for one class, shares in [0, 1].

    Attributes:
        mean: over healthy seeds.
        low: the lower end of its 95 % interval over images, or over groups where they are fewer.
        high: the upper end.

    """

    mean: float
    low: float
    high: float

    @property
    def at_chance(self) -> bool:
        """Whether the interval does not lie above 50 %."""
        return self.low <= CHANCE


def balanced_accuracy_interval(
    sensitivity: float, specificity: float, labelled: int, others: int
) -> tuple[float, float]:
    """Return the 95 % interval of balanced accuracy over images.

    Args:
        sensitivity: the share of labelled images that are predicted, in [0, 1].
        specificity: the share of the others that are not.
        labelled: the number of labelled images, at least 1.
        others: the number of the others, at least 1.

    Example:
        >>> low, high = balanced_accuracy_interval(0.9, 0.8, 50, 50)
        >>> round(low, 3), round(high, 3)
        (0.764, 0.902)
        >>> balanced_accuracy_interval(0.0, 1.0, 3, 97)[0] < 0.5
        True

    """
    below = above = 0.0
    for rate, count in ((sensitivity, labelled), (specificity, others)):
        low, high = score_interval(rate, count)
        below, above = below + (rate - low) ** 2, above + (high - rate) ** 2
    mean = (sensitivity + specificity) / 2
    return mean - math.sqrt(below) / 2, mean + math.sqrt(above) / 2


def balanced_accuracy(
    record: StudyRecord, configuration: str, class_name: str
) -> BalancedAccuracy | None:
    """Return the balanced accuracy of a configuration for a class; None where it is undefined."""
    sensitivity, specificity, labelled, images = (
        summarise_pairs(record.by_seed(configuration, figure, class_name=class_name)).mean
        for figure in ("sensitivity", "specificity", "images_labelled", "images")
    )
    if math.isnan(sensitivity) or math.isnan(specificity):
        return None
    counts = round(labelled), round(images - labelled)
    if record.extent.dependent or record.folds:
        counts = record.extent.of_class.get(class_name, counts)
    low, high = balanced_accuracy_interval(sensitivity, specificity, *counts)
    return BalancedAccuracy((sensitivity + specificity) / 2, low, high)


def at_chance(record: StudyRecord, configuration: str) -> bool:
    """Return whether a configuration's student is at chance for every class that can be judged."""
    known = record.once(_known_chances)
    if configuration not in known:
        known[configuration] = _at_chance(record, configuration)
    return known[configuration]


def _known_chances(record: StudyRecord) -> dict[str, bool]:
    return {}


def _at_chance(record: StudyRecord, configuration: str) -> bool:
    found = [
        balanced_accuracy(record, configuration, name)
        for name in record.classes
        if name != MEAN_OF_CLASSES
    ]
    judged = [one for one in found if one is not None]
    return bool(judged) and all(one.at_chance for one in judged)
