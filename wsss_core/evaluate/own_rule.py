"""A researcher's own threshold rule: "module:attribute", called with all that a rule may see.

    VERSION = 1

    def halfway(tune, scores):
        return int(np.searchsorted(np.cumsum(scores), scores.sum() / 2))

    halfway.peeks_at = "the test images' scores"

`tune` is the tune split's `HistogramStack`, None where there is none; of several classes, that of
the highest score against the mask of any class. `scores`, int64 [256], are the pixels per level of
the test images that carry the label. The answer is a level 0-255, or None where the rule finds
none. Without `peeks_at` the tables say that it declares nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.histogram_stack import HistogramStack
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS
from wsss_core.plugins import load_plugin, plugin_version

NOT_DECLARED = "not declared"


@dataclass(frozen=True)
class OwnRule:
    """A rule that a name stands for.

    Attributes:
        name: "module:attribute".
        peeks_at: How much of the masks it says it has seen.
        choose: The object itself.

    """

    name: str
    peeks_at: str
    choose: Callable[[HistogramStack | None, NDArray[np.int64]], Any]

    def level(self, tune: HistogramStack | None, scores: NDArray[np.int64]) -> int | None:
        """Return the level it chooses, 0-255, or None.

        Raises:
            InputError: It raised, or answered with something that is no level.

        """
        try:
            level = self.choose(tune, scores)
        except Exception as error:
            # Whatever a user's rule raises is the user's to read, in one line.
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"threshold rule {self.name!r} failed: {said}") from error
        if level is None:
            return None
        whole = isinstance(level, int | np.integer) and not isinstance(level, bool)
        if not whole or not 0 <= level < SCORE_LEVELS:
            raise InputError(
                f"threshold rule {self.name!r}: expected a whole level 0-255 or None, got {level!r}"
            )
        return int(level)


def load_own_rule(name: str) -> OwnRule:
    """Import a rule; its module is looked for as `wsss_core.plugins.load_plugin` says.

    Raises:
        InputError: It cannot be loaded or called, declares no version, or `peeks_at` is no text.

    """
    found = load_plugin("threshold rule", name)
    plugin_version("threshold rule", name)
    peeks_at = getattr(found, "peeks_at", NOT_DECLARED)
    if not isinstance(peeks_at, str) or not peeks_at.strip():
        raise InputError(f"threshold rule {name!r}: expected peeks_at to be text, got {peeks_at!r}")
    return OwnRule(name, peeks_at, found)
