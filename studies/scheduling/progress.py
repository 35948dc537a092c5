"""Progress in the driver: a line for each finished training run, with an estimate of the rest.

Not every run takes the same: what is left is counted by kinds (`timings.kind`), each taking
what its finished runs took, and one that none has finished of what its passes over the images make
of the others' time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from studies.formatting import duration
from studies.planning.plan import Unit
from studies.planning.timings import Means, kind, passes

__all__ = ["Progress", "duration"]


class Progress:
    """Counts finished units and says what is left.

    Args:
        units: what has to run.
        say: where lines go.
        only_scored: the keys of those that were trained before.

    Attributes:
        at_once: how many units run at a time, where that is known; the estimate is then right
            from the first of them on.

    """

    def __init__(
        self, units: list[Unit], say: Callable[[str], None], only_scored: Collection[str] = ()
    ) -> None:
        self.say = say
        self.at_once: int | None = None
        self.unrefined: dict[str, str] = {}
        """Chains that failed: "configuration, seed, chain" -> error."""
        self._only_scored = frozenset(only_scored)
        self._started = time.perf_counter()
        self._total, self._ended = len(units), 0
        self._left = Counter(map(self._work, units))
        self._pace = Means()
        self._worked = 0.0

    def more(self, unit: Unit | None = None) -> None:
        """Count one more unit than was known at the start."""
        self._total += 1
        if unit is not None:
            self._left[self._work(unit)] += 1

    def ended(self, unit: Unit, outcome: dict[str, Any]) -> None:
        """Say that a unit has ended."""
        self._ended += 1
        work = self._work(unit)
        self._left[work] -= 1
        seconds = outcome.get("seconds")
        if seconds is not None:
            self._worked += seconds
            if outcome["status"] != "failed":
                self._pace.add(work[:2], seconds / work[2])
        took = time.perf_counter() - self._started
        state = "" if outcome["status"] == "ok" else f"  {outcome['status']}: {outcome['error']}"
        left = self._total - self._ended
        rest = f", about {duration(self._rest(took, left))} left" if left else ""
        width = len(str(self._total))
        self.say(
            f"[{self._ended:{width}}/{self._total}] {unit.name}, seed {unit.seed}{state}"
            f"  ({duration(took)}{rest})"
        )

    def _work(self, unit: Unit) -> tuple[str, str, int]:
        """A unit's kind, what it is like where that was not seen, and its size."""
        if unit.key in self._only_scored:
            return f"scored: {kind(unit.settings)}", "scored", 1
        return kind(unit.settings), "trained", passes(unit.settings)

    def _rest(self, took: float, left: int) -> float:
        """Seconds of wall time that the units which are left will take."""
        work = 0.0
        for (own, like, size), count in self._left.items():
            pace = self._pace.of([own, like])
            if (count and pace is None) or not self._worked:
                return took / self._ended * left  # nothing is known yet of such units
            work += count * size * (pace or 0.0)
        if self.at_once is not None and self._ended < 2 * self.at_once:
            return work / min(self.at_once, left)
        # What ran at a time, as the work done so far shows it: those now running not counted.
        return work * took / self._worked

    def refined(self, unit: Unit, errors: dict[str, str]) -> None:
        """Say that a unit's chains have ended; each of the errors is one chain's."""
        for chain, error in errors.items():
            self.unrefined[f"{unit.name}, seed {unit.seed}, {chain}"] = error
        state = f"  {len(errors)} failed: {next(iter(errors.values()))}" if errors else ""
        self.say(
            f"{'':{2 * len(str(self._total)) + 3}} refined: {unit.name}, seed {unit.seed}{state}"
        )
