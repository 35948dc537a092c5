"""What a study is to decide, as the plan in the ledger holds it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from reports.deciding import (
    BoundaryShape,
    DecisionRule,
    GroupSequential,
    SequentialTest,
    TMixture,
)
from wsss_core.errors import as_input_error


class RowPair(NamedTuple):
    """Two rows that are compared: the first minus the second.

    >>> str(RowPair("taught", "alone"))
    'taught against alone'
    """

    row: str
    other: str

    def __str__(self) -> str:
        return f"{self.row} against {self.other}"


@dataclass(frozen=True)
class Question:
    """The comparisons of a study, and when each is decided.

    Attributes:
        comparisons: the pairs of rows.
        best: whether they are to find the best row.
        seeds: all seeds that may be reached, in their order.
        smallest: the smallest difference that matters, a share.
        error: the error rate.
        first_seeds: seeds of every row, before the first decision.
        step: seeds that an open comparison is given at a time.
        most_hours: hours after which no seed is begun; None: no limit.
        hours: "processor" or "wall".
        figure: the figure compared, a column of the outcomes.
        split: "test" or "tune".
        rule: the threshold rule; None: tuned, or fixed where no threshold can be tuned.
        collapsed_below: a lower figure is a collapse, a share; None: none is.
        collapses: "apart" or "zero", see `studies.spec.decide`.
        test: "pocock", "obrien-fleming", "early" or "t-mixture".
        precision: of the t-mixture.

    """

    comparisons: tuple[RowPair, ...]
    best: bool
    seeds: tuple[int, ...]
    smallest: float
    error: float
    first_seeds: int
    step: int
    most_hours: float | None
    hours: str
    figure: str
    split: str
    rule: str | None
    collapsed_below: float | None
    collapses: str
    test: str
    precision: float

    @property
    def most_seeds(self) -> int:
        """Seeds after which the budget is spent."""
        return len(self.seeds)

    @property
    def decision_rule(self) -> DecisionRule:
        """The rule of `reports.deciding`."""
        test: SequentialTest
        if self.test == "t-mixture":
            test = TMixture(self.precision)
        else:
            test = GroupSequential(
                self.most_seeds, self.first_seeds, shape=BoundaryShape(self.test)
            )
        return DecisionRule(test, self.smallest, self.most_seeds, self.first_seeds, self.error)

    def as_json(self) -> str:
        """Return it as text, for the column `decide` of the plan."""
        return json.dumps(asdict(self), sort_keys=True)


def read_question(text: str) -> Question:
    """Return the question that a plan holds.

    Raises:
        InputError: the text is of another kind, as of a newer version.

    """
    with as_input_error("decide of the plan cannot be read", ValueError, KeyError, TypeError):
        known: Mapping[str, Any] = json.loads(text)
        pairs = tuple(RowPair(*pair) for pair in known["comparisons"])
        return Question(**{**known, "comparisons": pairs, "seeds": tuple(known["seeds"])})
