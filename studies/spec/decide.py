"""The section `decide` of a study file: comparisons that get seeds until they are decided."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from reports.names import FIGURES
from studies.spec.base import Name, Strict
from studies.spec.configuration import Configuration
from wsss_core.errors import nearest, quoted
from wsss_core.evaluate import ThresholdRule

MOST_SEEDS = 200
"""The most seeds of a study that decides."""

LEAST_LEVEL = 0.0005
"""The least error rate that a group-sequential test is calibrated for."""

_PairOfRows = Annotated[list[Name], Field(min_length=2, max_length=2)]


class Decide(Strict):
    """The comparisons that matter, and when each is decided (`reports.deciding`).

    All rows get the first seeds. Further seeds go to the rows of open comparisons alone, until each
    is better, worse, of no difference that matters, or the budget is spent. The seeds are those of
    `seeds`, then the whole numbers after the largest, `most_seeds` in all.

    Attributes:
        against: a row that all others are compared with.
        pairs: pairs of rows to compare, the first with the second.
        best: whether to find the best row: all pairs, but a row that is worse than another gets no
            more seeds.
        smallest: the smallest difference worth knowing, in percent points.
        error: the chance that any "better" or "worse" is wrong; the same for "no difference".
        first_seeds: seeds of every row, before the first decision.
        most_seeds: seeds after which the budget is spent.
        step: seeds that an open comparison is given at a time.
        most_hours: hours after which no seed is begun; None: no limit.
        hours: hours of what a trial holds (a GPU where it had one, else its CPU cores), or of wall
            time while any trial of the study ran.
        figure: the figure compared; None: the objective of the thresholds.
        split: the split that the figure is over.
        rule: the threshold rule; None: tuned, or fixed where no threshold can be tuned.
        collapsed_below: a trial whose figure is lower, in percent, has collapsed, as has each whose
            training did; None: the latter alone.
        collapses: whether pairs with a collapsed side are left out of the mean and counted apart,
            or enter the mean with 0 and are counted as well.
        test: how the interval of the mean is made, see `reports.deciding`.
        precision: of the t-mixture.

    """

    against: Name | None = None
    pairs: list[_PairOfRows] = Field(default_factory=list)
    best: bool = False
    smallest: float = Field(gt=0, le=100)
    error: float = Field(0.05, ge=0.001, le=0.125)
    first_seeds: int = Field(3, ge=2)
    most_seeds: int = Field(ge=2, le=MOST_SEEDS)
    step: int = Field(1, ge=1)
    most_hours: float | None = Field(None, gt=0)
    hours: Literal["processor", "wall"] = "processor"
    figure: str | None = None
    split: Literal["test", "tune"] = "test"
    rule: str | None = None
    collapsed_below: float | None = Field(None, gt=0, lt=100)
    collapses: Literal["apart", "zero"] = "apart"
    test: Literal["pocock", "obrien-fleming", "early", "t-mixture"] = "pocock"
    precision: float = Field(0.5, gt=0)

    @field_validator("figure")
    @classmethod
    def _is_a_figure(cls, name: str | None) -> str | None:
        if name is not None and name not in FIGURES:
            raise ValueError(
                f"{quoted(name)} is no figure; nearest: {nearest(name, FIGURES, 0)!r}; expected "
                f"one of {', '.join(FIGURES)}"
            )
        return name

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.against is None and not self.pairs and not self.best:
            raise ValueError("nothing is compared; expected against, pairs or best")
        if self.first_seeds > self.most_seeds:
            raise ValueError(
                f"first_seeds {self.first_seeds} are more than most_seeds {self.most_seeds}"
            )
        if self.split == "tune" and self.rule not in (None, "tuned", "fixed"):
            raise ValueError(f"rule {self.rule!r} has no figures of the tune split; expected tuned")
        return self

    def check(
        self,
        named: Sequence[tuple[str, Configuration]],
        rules: Sequence[str],
        seeds: Sequence[int],
    ) -> None:
        """Raise ValueError unless it fits a study.

        Args:
            named: the study's rows with their names.
            rules: its own threshold rules.
            seeds: its seeds.

        """
        if self.seeds(seeds)[-1] >= 2**31:
            raise ValueError(f"decide.most_seeds {self.most_seeds} reach seeds above 2**31")
        known = (*map(str, ThresholdRule), *rules)
        if self.rule is not None and self.rule not in known:
            raise ValueError(
                f"decide.rule {quoted(self.rule)} is no threshold rule of this study; expected "
                f"one of {', '.join(known)}"
            )
        for name, one in named:
            if one.fuse is not None and one.fuse.seeds > 1:
                raise ValueError(
                    f"decide pairs rows by seed, but {quoted(name)} fuses {one.fuse.seeds} seeds a "
                    "result; expected 1"
                )
        self.comparisons([name for name, _ in named])

    def comparisons(self, rows: Sequence[str]) -> list[tuple[str, str]]:
        """Return the pairs of rows that are compared, the first with the second, each once.

        Args:
            rows: the names of the study's rows.

        Raises:
            ValueError: a row is unknown, compared with itself or both ways, or the comparisons are
                too many for the error rate.

        """
        found = [(row, self.against) for row in rows if self.against not in (None, row)]
        found += [(one, other) for one, other in self.pairs]
        found += list(combinations(rows, 2)) if self.best else []
        if self.against is not None:
            _known("against", self.against, rows)
        for one, other in self.pairs:
            for row in (one, other):
                _known("pairs", row, rows)
            if one == other:
                raise ValueError(f"decide.pairs compares {quoted(one)} with itself")
        kept: dict[frozenset[str], tuple[str, str]] = {}
        for one, other in found:
            kept.setdefault(frozenset((str(one), str(other))), (str(one), str(other)))
        if not kept:
            raise ValueError("decide compares rows, but the study has one row alone")
        most = math.floor(self.error / LEAST_LEVEL + 1e-9)
        if self.test != "t-mixture" and len(kept) > most:
            raise ValueError(
                f"decide has {len(kept)} comparisons; with error {self.error:g} expected at most "
                f"{most}, or test: t-mixture"
            )
        return list(kept.values())

    def seeds(self, given: Sequence[int]) -> list[int]:
        """Return all seeds that may be reached, in their order.

        Args:
            given: the study's.

        """
        following = range(max(given) + 1, max(given) + 1 + self.most_seeds)
        return [*given, *following][: self.most_seeds]


def _known(key: str, name: str, rows: Sequence[str]) -> None:
    if name not in rows:
        raise ValueError(
            f"decide.{key}: {quoted(name)} is no row of this study; "
            f"nearest: {nearest(name, rows, 0)!r}"
        )
