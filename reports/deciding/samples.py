"""The moments of paired differences, and the sentence that says why they allow no interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsss_core.errors import InputError


@dataclass(frozen=True)
class SampleMoments:
    """Mean and spread of the differences that are there.

    Attributes:
        n: Number of differences.
        missing: Number of pairs of which a side is missing (None or NaN).
        mean: Arithmetic mean; NaN for n = 0.
        sd: SampleMoments standard deviation; None for n < 2 and for equal differences.
        note: Why there is no spread; None where there is one.

    """

    n: int
    missing: int
    mean: float
    sd: float | None
    note: str | None

    @property
    def t(self) -> float | None:
        """Student's statistic of a mean of 0; None without a spread."""
        return None if self.sd is None else math.sqrt(self.n) * self.mean / self.sd


def sample_of(differences: Sequence[float | None]) -> SampleMoments:
    """Return the moments of differences; None and NaN count as missing.

    Raises:
        InputError: A difference is infinite.

    """
    kept = present(differences)
    n, missing = len(kept), len(differences) - len(kept)
    if n == 0:
        return SampleMoments(
            0, missing, math.nan, None, "No pair is complete, so nothing is compared."
        )
    mean = float(kept.mean())
    if n == 1:
        return SampleMoments(
            1, missing, mean, None, "One difference has no spread, so no interval."
        )
    sd = float(kept.std(ddof=1))
    # Equal differences leave rounding noise behind, which must not pass for a tiny spread.
    if sd <= 1e-12 * float(np.abs(kept).max()):
        note = f"All {n} differences are equal ({mean:g}), so their spread is unknown."
        return SampleMoments(n, missing, mean, None, note)
    return SampleMoments(n, missing, mean, sd, None)


def present(differences: Sequence[float | None]) -> np.ndarray:
    """Return the differences that are there, float64 [n], in their order.

    Raises:
        InputError: A difference is infinite.

    """
    values = np.asarray([math.nan if d is None else d for d in differences], dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise InputError(
            f"difference {infinite[0] + 1} of {len(values)} is infinite; a finite number, "
            "or None for a missing pair, was expected"
        )
    return values[~np.isnan(values)]


def check_level(level: float) -> None:
    """Raise unless an error rate lies between 0 and a half."""
    if not 0 < level < 0.5:
        raise InputError(f"the error rate is {level}; a number above 0 and below 0.5 was expected")
