"""The path of each comparison, seed after seed, until it is decided or the budget is spent.

A comparison is better or worse once its interval excludes 0, at the error rate that Holm's rule
leaves it: the level over the number of comparisons that are not yet better or worse. There is no
difference that matters once an interval lies within the smallest difference on both sides. That
takes two one-sided tests, so this interval is at twice the error rate, over all m comparisons
(Schuirmann, J. Pharmacokin. Biopharm. 15, 1987).

With one comparison the chance of a wrong decision at any stopping is at most the level. With
several, the chance that any better or worse is wrong is at most the level, and so is the chance
that any "no difference that matters" is.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reports.deciding.intervals import SequentialInterval, SequentialTest, sequential_interval
from reports.deciding.samples import sample_of
from reports.deciding.signs import SignTest, sign_test
from reports.deciding.verdicts import Verdict
from wsss_core.errors import InputError

_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True)
class DecisionRule:
    """When a comparison is decided.

    Attributes:
        test: `TMixture`, or `GroupSequential` whose last look is `most_seeds`.
        smallest_difference: The smallest difference that matters, in the differences' unit; with 0
            no comparison ends in "no difference that matters".
        most_seeds: Pairs after which the budget is spent.
        first_seeds: Pairs before the first decision, at least 2.
        level: Error rate, in (0, 0.25); with a group-sequential test at most 0.125.

    Raises:
        InputError: A value is out of range.

    """

    test: SequentialTest
    smallest_difference: float
    most_seeds: int
    first_seeds: int = 3
    level: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.level < 0.25:
            raise InputError(
                f"the error rate is {self.level}; a number above 0 and below 0.25 was expected"
            )
        if not (math.isfinite(self.smallest_difference) and self.smallest_difference >= 0):
            raise InputError(
                f"the smallest difference that matters is {self.smallest_difference}; "
                "a number at or above 0 was expected"
            )
        if not 2 <= self.first_seeds <= self.most_seeds:
            raise InputError(
                f"decisions from {self.first_seeds} to {self.most_seeds} seeds: a first one at 2 "
                "or more, and no more than the most seeds, were expected"
            )


@dataclass(frozen=True)
class PathPoint:
    """A comparison after a seed.

    Attributes:
        seeds: Seeds so far, those with a missing side included.
        interval: Interval of the mean difference at the error rate that Holm's rule left.
        equivalence: Interval that must lie within the smallest difference on both sides.

    """

    seeds: int
    interval: SequentialInterval
    equivalence: SequentialInterval


@dataclass(frozen=True)
class Decision:
    """How a comparison went.

    Attributes:
        verdict: Its end, or `open`.
        seeds: Seeds that were looked at; later ones were not needed.
        path: A point for each seed from the second on, the last one that of the decision.
        signs: The signs of the differences that were looked at, beside their mean.
        note: What stood in the way of a decision, if anything did.

    """

    verdict: Verdict
    seeds: int
    path: tuple[PathPoint, ...]
    signs: SignTest
    note: str | None


def decide_comparisons(
    differences: Mapping[_Name, Sequence[float | None]], rule: DecisionRule
) -> dict[_Name, Decision]:
    """Follow comparisons seed by seed and return how each ended.

    All comparisons advance together. A decided one keeps its verdict, and its later differences
    are not read.

    Args:
        differences: By comparison, row minus baseline in the order of the seeds; None or NaN where
            a side is missing.
        rule: When a comparison is decided.

    Raises:
        InputError: A difference is infinite.

    Example:
        >>> from reports.deciding import DecisionRule, TMixture
        >>> rule = DecisionRule(TMixture(), smallest_difference=5.0, most_seeds=40)
        >>> taught = [11.0, 9.5, 12.0, 10.5, 10.0, 12.5, 9.0, 11.0]
        >>> decision = decide_comparisons({"taught": taught}, rule)["taught"]
        >>> str(decision.verdict), decision.seeds
        ('better', 5)

    """
    verdicts = {name: Verdict.OPEN for name in differences}
    paths: dict[_Name, list[PathPoint]] = {name: [] for name in differences}
    most = max((len(values) for values in differences.values()), default=0)
    for seeds in range(2, min(most, rule.most_seeds) + 1):
        reached = {
            name: values[:seeds]
            for name, values in differences.items()
            if not verdicts[name].is_decided and len(values) >= seeds
        }
        points = _look(reached, verdicts, rule, seeds)
        for name, (point, verdict) in points.items():
            paths[name].append(point)
            verdicts[name] = verdict
    return {
        name: _decision(values, verdicts[name], tuple(paths[name]), rule)
        for name, values in differences.items()
    }


def _look(
    reached: Mapping[_Name, Sequence[float | None]],
    before: Mapping[_Name, Verdict],
    rule: DecisionRule,
    seeds: int,
) -> dict[_Name, tuple[PathPoint, Verdict]]:
    """Return the point and the verdict of each open comparison that has this seed."""
    looked: dict[_Name, tuple[PathPoint, Verdict]] = {}
    sided = sum(verdict in (Verdict.BETTER, Verdict.WORSE) for verdict in before.values())
    still_open = dict(reached)
    while still_open:
        found = {}
        for name, values in still_open.items():
            point = PathPoint(
                seeds,
                sequential_interval(values, rule.test, rule.level / (len(before) - sided)),
                sequential_interval(values, rule.test, 2 * rule.level / len(before)),
            )
            found[name] = (point, _verdict(point, rule))
        looked |= found
        newly = {n for n, (_, v) in found.items() if v in (Verdict.BETTER, Verdict.WORSE)}
        if not newly:
            break
        # Holm: what is better or worse leaves its share of the error rate to the others.
        sided += len(newly)
        still_open = {n: v for n, v in still_open.items() if found[n][1] is Verdict.OPEN}
    return looked


def _verdict(point: PathPoint, rule: DecisionRule) -> Verdict:
    """Return what a point says; a difference that is there but too small does not matter."""
    if point.interval.n < rule.first_seeds:
        return Verdict.OPEN
    smallest = rule.smallest_difference
    if point.equivalence.lies_above(-smallest) and point.equivalence.lies_below(smallest):
        return Verdict.NO_DIFFERENCE
    if point.interval.lies_above(0):
        return Verdict.BETTER
    return Verdict.WORSE if point.interval.lies_below(0) else Verdict.OPEN


def _decision(
    values: Sequence[float | None],
    verdict: Verdict,
    path: tuple[PathPoint, ...],
    rule: DecisionRule,
) -> Decision:
    seeds = path[-1].seeds if path else len(values)
    if not verdict.is_decided and seeds >= rule.most_seeds:
        verdict = Verdict.BUDGET_SPENT
    note = path[-1].interval.note if path else sample_of(values).note
    return Decision(verdict, seeds, path, sign_test(values[:seeds]), note)
