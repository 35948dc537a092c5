"""The fixed number of seeds that a sequential design is measured against."""

import math
from functools import lru_cache

from scipy.special import nctdtr, stdtrit

from reports.deciding.samples import check_level
from wsss_core.errors import InputError


@lru_cache(maxsize=1024)
def fixed_design_seeds(
    effect: float, level: float = 0.05, power: float = 0.8, most: int = 1000
) -> int | None:
    """Return the least number of pairs whose two-sided t-test finds an effect with a power.

    Args:
        effect: Mean difference over the standard deviation of the differences, not 0.
        level: Error rate of the test, in (0, 0.5).
        power: Chance to find the effect on its side, in (0, 1).
        most: Look no further.

    Returns:
        None if `most` pairs are too few.

    Raises:
        InputError: The effect is 0 or not finite, or a rate is out of range.

    Example:
        >>> fixed_design_seeds(1.0), fixed_design_seeds(0.5)
        (10, 34)

    """
    check_level(level)
    if not (math.isfinite(effect) and effect != 0 and 0 < power < 1):
        raise InputError(
            f"a fixed design for an effect of {effect} with a power of {power}: an effect other "
            "than 0 and a power between 0 and 1 were expected"
        )
    for n in range(2, most + 1):
        critical = stdtrit(n - 1, 1 - level / 2)
        if 1 - nctdtr(n - 1, abs(effect) * math.sqrt(n), critical) >= power:
            return n
    return None


def seeds_that_tell(
    mean: float, sd: float, smallest: float, level: float = 0.05, most: int = 1000
) -> int | None:
    """Return the least number of pairs that decide a comparison at a given mean and spread.

    One look decides it if the interval of the mean (t-test) excludes 0, or lies within the smallest
    difference on both sides.

    Args:
        mean: Of the differences.
        sd: Their standard deviation, 0 or more.
        smallest: The smallest difference that matters, above 0.
        level: Error rate of the interval, in (0, 0.5).
        most: Look no further.

    Returns:
        None if `most` pairs are too few.

    Raises:
        InputError: A rate out of range.

    Example:
        >>> seeds_that_tell(6.6, 5.6, 10.0, 0.01), seeds_that_tell(1.0, 5.6, 10.0, 0.01)
        (9, 7)

    """
    check_level(level)
    for n in range(2, most + 1):
        half = stdtrit(n - 1, 1 - level / 2) * sd / math.sqrt(n)
        if half < abs(mean) or abs(mean) + half < smallest:
            return n
    return None
