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
