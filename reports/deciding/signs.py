"""The signs of differences, and collapses: what a mean of few seeds cannot answer.

Where a row collapses now and then, the differences are skewed, and no test of the mean keeps its
error rate at few seeds. Signs do not see how large a difference is, so theirs holds whatever the
tails and the skew. Their question is another: on which side most seeds lie.

The e-value of k positive signs of n mixes all chances evenly (Ville's martingale with a uniform
prior): 2^n k! (n - k)! / (n + 1)!. It may be looked at after every seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtr

from reports.deciding.samples import present
from wsss_core.errors import InputError


@dataclass(frozen=True)
class SignTest:
    """Two counts that are equally likely if nothing differs.

    Attributes:
        positive: Number of pairs in which the first side has more.
        negative: Number of pairs in which the second side has more.
        ties: Number of pairs without a difference; they count for neither side.
        missing: Number of pairs of which a side is missing.

    """

    positive: int
    negative: int
    ties: int
    missing: int

    @property
    def p(self) -> float:
        """Two-sided p of the exact binomial test, for a number of seeds fixed beforehand."""
        n = self.positive + self.negative
        return min(1.0, 2 * float(bdtr(min(self.positive, self.negative), n, 0.5)))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value, valid after every seed."""
        n = self.positive + self.negative
        return (
            n * math.log(2)
            + math.lgamma(self.positive + 1)
            + math.lgamma(self.negative + 1)
            - math.lgamma(n + 2)
        )


def sign_test(differences: Sequence[float | None]) -> SignTest:
    """Count the signs of paired differences.

    Args:
        differences: One for each pair; None or NaN where a side is missing.

    Raises:
        InputError: A difference is infinite.

    Example:
        >>> signs = sign_test([1.0, 2.0, 0.5, 3.0, 0.0, None])
        >>> signs.positive, signs.negative, signs.ties, signs.missing, signs.p
        (4, 0, 1, 1, 0.125)

    """
    kept = present(differences)
    positive, negative = int((kept > 0).sum()), int((kept < 0).sum())
    ties = len(kept) - positive - negative
    return SignTest(positive, negative, ties, len(differences) - len(kept))


def compare_collapses(
    collapsed: Sequence[bool | None], baseline_collapsed: Sequence[bool | None]
) -> SignTest:
    """Compare how often two rows collapse, over pairs of the same seed (McNemar's exact test).

    Args:
        collapsed: Whether the row's trial collapsed, by pair; None for a missing trial.
        baseline_collapsed: The same of the baseline.

    Returns:
        `positive` counts pairs in which the row alone collapsed, `negative` those in which the
        baseline alone did, `ties` those in which both or neither did.

    Raises:
        InputError: The sides have different numbers of pairs.

    Example:
        >>> compare_collapses([True, False, True], [False, False, True])
        SignTest(positive=1, negative=0, ties=2, missing=0)

    """
    if len(collapsed) != len(baseline_collapsed):
        raise InputError(
            f"{len(collapsed)} trials are compared with {len(baseline_collapsed)} of the baseline; "
            "as many were expected, paired by position"
        )
    pairs = zip(collapsed, baseline_collapsed, strict=True)
    return sign_test([None if a is None or b is None else float(a) - float(b) for a, b in pairs])
