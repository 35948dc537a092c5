"""Which comparison is decided, and which trials are asked for next: a function of what has ended.

Rounds go on in step: a round is over once every trial that it asked for has ended, and only then is
anything decided. So neither the order in which trials end nor the number of drivers changes a
decision, and a decision once made needs no trial that is still to come.

A failed trial spends its seed: the pair is missing. It is tried again when the study is run again,
unless a decided comparison has passed over it. A comparison is held up, and gets no more seeds,
while a row has failed at least as often as not.

A row that a user cancelled is not waited for. Its open comparisons end where its results do, what
was decided before stays, and the error rate is still divided among all comparisons.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from reports.deciding import (
    Decision,
    PathPoint,
    SequentialInterval,
    SignTest,
    Verdict,
    compare_collapses,
    decide_comparisons,
)
from reports.decisions.question import Question, RowPair

_HOUR = 3600.0


@dataclass(frozen=True)
class SeedResult:
    """How the trials of a row under a seed have ended, those of all folds together.

    Attributes:
        value: the figure, a share; the mean over folds; None if a trial failed or collapsed, or
            has no such figure.
        failed: whether a trial failed.
        collapsed: whether a trial collapsed.
        work: seconds of a GPU, or of CPU cores without one, by training run.
        spans: start and end of each training run, in seconds.

    """

    value: float | None
    failed: bool = False
    collapsed: bool = False
    work: Mapping[str, float] = field(default_factory=dict)
    spans: tuple[tuple[float, float], ...] = ()


SeedResults = Mapping[tuple[str, int], SeedResult]
"""The results by row and seed; those that have not ended are absent."""


@dataclass(frozen=True)
class Answer:
    """What a comparison has come to.

    Attributes:
        pair: the rows.
        decision: of `reports.deciding`, over the seeds that count.
        verdict: how it ended; `budget spent` by hours as well as by seeds.
        differences: row minus other, in the order of the seeds; None for a missing pair.
        collapses: pairs in which one row alone collapsed.
        collapsed: how many trials of either row collapsed.
        note: why it is not decided, in a sentence; None where it is, or goes on.
        goes_on: whether it gets seeds.

    """

    pair: RowPair
    decision: Decision
    verdict: Verdict
    differences: tuple[float | None, ...]
    collapses: SignTest
    collapsed: tuple[int, int]
    note: str | None
    goes_on: bool

    @property
    def notes(self) -> list[str]:
        """Why it is not decided, and what the decision itself says, in sentences."""
        return [text for text in (self.note, self.decision.note) if text]

    @property
    def interval(self) -> SequentialInterval | None:
        """The interval that decided it, or the last one; None before any."""
        path = self.decision.path
        return self.interval_at(path[-1]) if path else None

    def interval_at(self, look: PathPoint) -> SequentialInterval:
        """Return the interval of a look that its verdict goes by."""
        return look.equivalence if self.verdict is Verdict.NO_DIFFERENCE else look.interval


@dataclass(frozen=True)
class Rounds:
    """Where a study stands.

    Attributes:
        answers: by pair of rows, in the study's order.
        reached: row -> how many seeds are asked for so far, those of the round included.
        waits_for: the trials of the round that have not ended, by row and seed.
        held: failed trials that a decided comparison has passed over.
        seeds_before: seeds of the last round that is over; 0 before.
        hours: that the rounds which are over took.

    """

    question: Question
    answers: Mapping[RowPair, Answer]
    reached: Mapping[str, int]
    waits_for: tuple[tuple[str, int], ...]
    held: frozenset[tuple[str, int]]
    seeds_before: int
    hours: float

    @property
    def goes_on(self) -> bool:
        """Whether trials are asked for that have not ended."""
        return bool(self.waits_for)

    @property
    def open(self) -> list[Answer]:
        """The comparisons that get seeds."""
        return [answer for answer in self.answers.values() if answer.goes_on]

    def asks_for(self, row: str, seed: int) -> bool:
        """Return whether a trial is asked for so far."""
        return self._places.get(seed, math.inf) < self.reached.get(row, 0)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {seed: place for place, seed in enumerate(self.question.seeds)}


def follow_rounds(
    question: Question,
    rows: Sequence[str],
    results: SeedResults,
    cancelled: Mapping[str, str] = MappingProxyType({}),
) -> Rounds:
    """Go through the rounds of a study as far as its results allow.

    Args:
        question: what the study is to decide.
        rows: all of its rows; each gets the first seeds.
        results: of the trials that have ended, in any order.
        cancelled: the rows that a user cancelled, with the words for it.

    """
    walk = _Walk(question, rows, results, cancelled)
    while not walk.round_is_missing() and walk.advance():
        pass
    return walk.rounds()


class _Walk:
    """The rounds, one after another.

    Attributes:
        reached: row -> how many seeds are asked for.
        closed: comparisons that get no more seeds -> why, or None where they are decided.

    """

    def __init__(
        self,
        question: Question,
        rows: Sequence[str],
        results: SeedResults,
        cancelled: Mapping[str, str],
    ) -> None:
        self.question, self.results, self.cancelled = question, results, cancelled
        self.reached = dict.fromkeys(rows, question.first_seeds)
        self.closed: dict[RowPair, str | None] = {}
        self.spent: set[RowPair] = set()
        self.seen = dict.fromkeys(question.comparisons, 0)
        self.over, self.round_ends = 0, question.first_seeds
        self.hours = 0.0
        self.decisions = decide_comparisons(self._differences(), question.decision_rule)

    def round_is_missing(self) -> list[tuple[str, int]]:
        """Return the trials of the round that have not ended."""
        asked = [(row, seed) for row, n in self.reached.items() for seed in self.question.seeds[:n]]
        return [at for at in asked if at not in self.results and at[0] not in self.cancelled]

    def advance(self) -> bool:
        """Decide after a round that is over; return whether another one follows."""
        question = self.question
        self.over = self.round_ends
        self._close_cancelled()
        going = [pair for pair in question.comparisons if pair not in self.closed]
        self.seen |= dict.fromkeys(going, self.over)
        self.decisions = decide_comparisons(self._differences(), question.decision_rule)
        self.hours = self._hours()
        for pair in going:
            self._close(pair)
        if question.best:
            self._drop_what_cannot_be_best()
        self.round_ends = min(self.over + question.step, question.most_seeds)
        self._close_cancelled()
        going = [pair for pair in going if pair not in self.closed]
        self.reached |= {row: self.round_ends for pair in going for row in pair}
        return bool(going)

    def rounds(self) -> Rounds:
        """Return where the study stands."""
        answers = {pair: self._answer(pair) for pair in self.question.comparisons}
        return Rounds(
            self.question,
            answers,
            self.reached,
            tuple(self.round_is_missing()),
            frozenset(self._passed_over(answers.values())),
            self.over,
            self.hours,
        )

    def _close_cancelled(self) -> None:
        """Give comparisons no more seeds of which a cancelled row lacks results of the round."""
        seeds = self.question.seeds[: self.round_ends]
        lacking = [
            row for row in self.cancelled if any((row, seed) not in self.results for seed in seeds)
        ]
        for pair in self.question.comparisons:
            row = next((row for row in pair if row in lacking), None)
            if row is not None and pair not in self.closed:
                self.closed[pair] = f"{row} was {self.cancelled[row]}; it gets no more seeds."

    def _close(self, pair: RowPair) -> None:
        """Give a comparison no more seeds if it is decided, held up, or without a budget."""
        question, seen = self.question, self.seen[pair]
        if self.decisions[pair].verdict.is_decided:
            self.closed[pair] = None
            return
        for row in pair:
            ended = [self.results[row, seed] for seed in question.seeds[:seen]]
            failed = sum(result.failed for result in ended)
            if 2 * failed >= len(ended):
                self.closed[pair] = (
                    f"{failed} of {len(ended)} trials of {row} failed; it gets no more seeds until "
                    "they have been run again."
                )
                return
        if seen >= question.most_seeds:
            self.closed[pair] = f"All {seen} seeds are spent."
            self.spent.add(pair)
        elif question.most_hours is not None and self.hours >= question.most_hours:
            kind = "wall time" if question.hours == "wall" else "processors"
            self.closed[pair] = (
                f"The {question.most_hours:g} hours of {kind} are spent ({self.hours:.1f} were "
                "used)."
            )
            self.spent.add(pair)

    def _drop_what_cannot_be_best(self) -> None:
        worse_than: dict[str, str] = {}
        for pair, decision in self.decisions.items():
            if decision.verdict is Verdict.WORSE:
                worse_than.setdefault(pair.row, pair.other)
            elif decision.verdict is Verdict.BETTER:
                worse_than.setdefault(pair.other, pair.row)
        for pair in self.question.comparisons:
            for row in pair:
                if row in worse_than and pair not in self.closed:
                    self.closed[pair] = f"{row} is worse than {worse_than[row]}, so it is not best."

    def _differences(self) -> dict[RowPair, list[float | None]]:
        return {pair: self._difference(pair, seen) for pair, seen in self.seen.items()}

    def _difference(self, pair: RowPair, seen: int) -> list[float | None]:
        found: list[float | None] = []
        for seed in self.question.seeds[:seen]:
            one, other = (self._value(self.results[row, seed]) for row in pair)
            found.append(None if one is None or other is None else one - other)
        return found

    def _value(self, result: SeedResult) -> float | None:
        if not self._collapsed(result):
            return result.value
        return 0.0 if self.question.collapses == "zero" else None

    def _collapsed(self, result: SeedResult) -> bool:
        if result.collapsed:
            return True
        below = self.question.collapsed_below
        return below is not None and result.value is not None and result.value < below

    def _answer(self, pair: RowPair) -> Answer:
        decision = self.decisions[pair]
        seeds = self.question.seeds[: self.seen[pair]]
        seeds = seeds[: decision.seeds] if decision.verdict.is_decided else seeds
        sides = [
            [
                None if (one := self.results[row, seed]).failed else self._collapsed(one)
                for seed in seeds
            ]
            for row in pair
        ]
        spent = pair in self.spent
        return Answer(
            pair,
            decision,
            Verdict.BUDGET_SPENT if spent else _unless_spent(decision.verdict),
            tuple(self._difference(pair, len(seeds))),
            compare_collapses(*sides),
            (sum(map(bool, sides[0])), sum(map(bool, sides[1]))),
            self.closed.get(pair),
            pair not in self.closed,
        )

    def _passed_over(self, answers: Iterable[Answer]) -> set[tuple[str, int]]:
        return {
            (row, seed)
            for answer in answers
            if answer.verdict.is_decided
            for row in answer.pair
            for seed in self.question.seeds[: answer.decision.seeds]
            if self.results[row, seed].failed
        }

    def _hours(self) -> float:
        """Return the hours that the trials of the rounds so far took."""
        ended = [
            self.results[row, seed]
            for row, n in self.reached.items()
            for seed in self.question.seeds[:n]
            if (row, seed) in self.results  # a cancelled row may lack some
        ]
        if self.question.hours == "processor":
            work = {run: seconds for one in ended for run, seconds in one.work.items()}
            return math.fsum(work.values()) / _HOUR
        total, until = 0.0, -math.inf
        for start, end in sorted({span for one in ended for span in one.spans}):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total / _HOUR


def _unless_spent(verdict: Verdict) -> Verdict:
    return Verdict.OPEN if verdict is Verdict.BUDGET_SPENT else verdict
