"""Student's t-test at several looks up to a known last one, its level calibrated by simulation.

The statistic is free of mean and scale, so under normal differences one simulation of standard
normals serves all: the boundary is a quantile of the largest statistic on a path. Three shapes: the
same nominal level at each look (Pocock, Biometrika 64, 1977), one that falls with the share of the
seeds that are there (O'Brien and Fleming, Biometrics 35, 1979), and one that rises with it, so that
large differences are found early. The last is z proportional to share^0.22, of the family of Wang
and Tsiatis (Biometrics 43, 1987, with their Delta at 0.72), but stricter up to three seeds, where
error spent on a t of two degrees of freedom buys little. Boundaries are for normal statistics; that
of n differences has the same two-sided p as their t.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from reports.deciding.samples import check_level
from wsss_core.errors import InputError

PATHS = 200_000  # simulated paths: a level of 0.05 is met to 0.0005 (one standard error)
CHUNK = 20_000  # paths in memory at once
SEED = 2_024  # of the calibration, so that a boundary is the same everywhere
RELEVANT = 0.25  # p above which a look of most shapes cannot be the most extreme one that counts


class BoundaryShape(StrEnum):
    """How strict early looks are."""

    POCOCK = "pocock"
    OBRIEN_FLEMING = "obrien-fleming"
    EARLY = "early"


@dataclass(frozen=True)
class GroupSequential:
    """A t-test at the looks first, first + every, ..., last.

    Attributes:
        last: Differences at the last look.
        first: Differences at the first look, at least 2.
        every: Differences between looks.
        shape: Shape of the boundary.

    Raises:
        InputError: The looks are not in order.

    """

    last: int
    first: int = 3
    every: int = 1
    shape: BoundaryShape = BoundaryShape.POCOCK

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.last or self.every < 1:
            raise InputError(
                f"looks from {self.first} to {self.last}, every {self.every}: a first look at 2 or "
                "more, a last one no earlier and a step of 1 or more were expected"
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of differences at which there is a look; the last one always is one."""
        return tuple(sorted({*range(self.first, self.last, self.every), self.last}))

    def half_width(self, n: int, level: float) -> float:
        """Return the half width of the repeated confidence interval, in units of s / sqrt(n).

        All intervals of a path cover the mean together with a chance of 1 - level (Jennison and
        Turnbull, J. R. Statist. Soc. B 51, 1989). Infinite between looks and after the last.

        Raises:
            InputError: The level is too small for the calibration, or above 0.25.

        """
        check_level(level)
        if not 100 / PATHS <= level <= RELEVANT:
            raise InputError(
                f"the error rate of a group-sequential test is {level}; it is calibrated from "
                f"{100 / PATHS:g} to {RELEVANT:g}"
            )
        if n not in self.looks:
            return math.inf
        extremes = _largest_statistics(self.shape, self.looks)
        boundary = float(extremes[-math.floor(level * PATHS)])
        z = boundary / _weight(self.shape, n, self.last)
        return -float(stdtrit(n - 1, ndtr(-z)))

    def p_value(self, n: int, t: float) -> float:
        """Return the share of null paths that are anywhere as extreme as this look is."""
        if n not in self.looks:
            return 1.0
        z = -float(ndtri(stdtr(n - 1, -abs(t))))
        extremes = _largest_statistics(self.shape, self.looks)
        reached = len(extremes) - np.searchsorted(
            extremes, z * _weight(self.shape, n, self.last), side="left"
        )
        p = (int(reached) + 1) / (PATHS + 1)
        return p if p < RELEVANT else 1.0


def _weight(shape: BoundaryShape, n: int, last: int) -> float:
    """Return the factor that makes the boundary of normal statistics the same at each look."""
    match shape:
        case BoundaryShape.POCOCK:
            return 1.0
        case BoundaryShape.OBRIEN_FLEMING:
            return math.sqrt(n / last)
        case BoundaryShape.EARLY:
            return float((n / last) ** -0.22 * (0.81 if n <= 3 else 1.0))


@lru_cache(maxsize=64)
def _largest_statistics(shape: BoundaryShape, looks: tuple[int, ...]) -> np.ndarray:
    """Return the largest weighted statistic of each simulated null path, sorted, float64 [PATHS].

    It is 0 for paths whose p stays above `RELEVANT`.
    """
    rng = np.random.default_rng(SEED)
    largest = np.zeros(PATHS)
    # An early look of that shape may be the most extreme one whatever its p.
    relevant = 1.0 if shape is BoundaryShape.EARLY else RELEVANT
    for start in range(0, PATHS, CHUNK):
        total, squares, seen = np.zeros(CHUNK), np.zeros(CHUNK), 0
        of_chunk = largest[start : start + CHUNK]
        for n in looks:
            # A block's sum and its spread around its own mean are independent.
            block = n - seen
            added = math.sqrt(block) * rng.standard_normal(CHUNK)
            within = rng.chisquare(block - 1, CHUNK) if block > 1 else 0.0
            total, squares, seen = total + added, squares + within + added**2 / block, n
            spread = squares - total**2 / n
            t = np.abs(total) * np.sqrt((n - 1) / (n * spread))
            beyond = np.flatnonzero(t > -stdtrit(n - 1, relevant / 2))
            z = -ndtri(stdtr(n - 1, -t[beyond])) * _weight(shape, n, looks[-1])
            of_chunk[beyond] = np.maximum(of_chunk[beyond], z)
    largest.sort()
    largest.flags.writeable = False
    return largest
