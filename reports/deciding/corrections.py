"""Several comparisons at once, by their e-values.

An e-value is a number at or above 0 whose mean is at most 1 if nothing differs.
"""

import math
from collections.abc import Sequence

from reports.deciding.samples import check_level
from wsss_core.errors import InputError


def holm_e_values(e_values: Sequence[float | None], level: float = 0.05) -> list[bool]:
    """Return which comparisons Holm's rule rejects: at most `level` chance of any error.

    The k-th largest of m e-values is rejected if it and all larger ones reach
    (m - k + 1) / level. The largest e-value that a comparison has had so far may be used.

    Args:
        e_values: Each at or above 0; None where there is none, which is never rejected and counts
            as a comparison.
        level: Familywise error rate.

    Raises:
        InputError: An e-value is negative or NaN, or the level is out of range.

    Example:
        >>> holm_e_values([70.0, 30.0, 19.0], level=0.05)
        [True, False, False]

    """
    ranked = _ranked(e_values, level)
    rejected = [False] * len(e_values)
    for k, (e, position) in enumerate(ranked):
        if e * level < len(ranked) - k:
            break
        rejected[position] = True
    return rejected


def e_bh(e_values: Sequence[float | None], level: float = 0.05) -> list[bool]:
    """Return which comparisons e-BH rejects: a share of at most `level` of them wrong on average.

    The k largest of m e-values are rejected for the largest k whose k-th e-value reaches
    m / (k level), whatever the comparisons share (Wang and Ramdas, J. R. Statist. Soc. B 84, 2022).
    The e-values are those at the time of stopping, not the largest ones on the way.

    Args:
        e_values: Each at or above 0; None where there is none, which is never rejected and counts
            as a comparison.
        level: False discovery rate.

    Raises:
        InputError: An e-value is negative or NaN, or the level is out of range.

    Example:
        >>> e_bh([70.0, 30.0, 19.0], level=0.05)
        [True, True, False]

    """
    ranked = _ranked(e_values, level)
    m = len(ranked)
    reaching = [k for k, (e, _) in enumerate(ranked, start=1) if k * e * level >= m]
    rejected = [False] * m
    for _, position in ranked[: max(reaching, default=0)]:
        rejected[position] = True
    return rejected


def _ranked(e_values: Sequence[float | None], level: float) -> list[tuple[float, int]]:
    """Return e-values with their positions, the largest first."""
    check_level(level)
    for position, e in enumerate(e_values):
        if e is not None and (math.isnan(e) or e < 0):
            raise InputError(
                f"e-value {position + 1} of {len(e_values)} is {e}; "
                "a number at or above 0 was expected"
            )
    values = [0.0 if e is None else e for e in e_values]
    return sorted(((e, position) for position, e in enumerate(values)), key=lambda p: (-p[0], p[1]))
