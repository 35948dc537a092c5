"""Progress in the driver: a line for each finished training run, with an estimate of the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from studies.plan import Unit


class Progress:
    """Counts finished units and says what is left.

    Args:
        units: what has to run.
        say: where lines go.

    """

    def __init__(self, units: list[Unit], say: Callable[[str], None]) -> None:
        self._total = len(units)
        self.say = say
        self._started = time.perf_counter()
        self._ended = 0
        self.unrefined: dict[str, str] = {}
        """Chains that failed: "configuration, seed, chain" -> error."""

    def ended(self, unit: Unit, outcome: dict[str, Any]) -> None:
        """Say that a unit has ended."""
        self._ended += 1
        took = time.perf_counter() - self._started
        rest = took / self._ended * (self._total - self._ended)
        state = "" if outcome["status"] == "ok" else f"  {outcome['status']}: {outcome['error']}"
        left = f", about {duration(rest)} left" if self._ended < self._total else ""
        width = len(str(self._total))
        self.say(
            f"[{self._ended:{width}}/{self._total}] {unit.name}, seed {unit.seed}{state}"
            f"  ({duration(took)}{left})"
        )

    def refined(self, unit: Unit, errors: dict[str, str]) -> None:
        """Say that a unit's chains have ended; each of the errors is one chain's."""
        for chain, error in errors.items():
            self.unrefined[f"{unit.name}, seed {unit.seed}, {chain}"] = error
        state = f"  {len(errors)} failed: {next(iter(errors.values()))}" if errors else ""
        self.say(
            f"{'':{2 * len(str(self._total)) + 3}} refined: {unit.name}, seed {unit.seed}{state}"
        )


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(45), duration(150), duration(7260)
    ('45 s', '2 min 30 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
