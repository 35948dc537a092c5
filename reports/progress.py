"""When to say how far a long work is, and how long the rest of it takes."""

import time


class Pace:
    """Counts what is done of a work whose parts take about equally long.

    Args:
        total: parts of the work.
        every_s: seconds between two messages.

    """

    def __init__(self, total: int, every_s: float) -> None:
        self.total, self.done = total, 0
        self._every_s = every_s
        self._started = self._said = time.monotonic()

    def add(self, count: int = 1) -> float | None:
        """Count parts that are done; seconds left if it is time to say so, else None.

        >>> Pace(total=10, every_s=0.0).add(0) is None  # nothing is done, so nothing is known
        True
        """
        self.done += count
        now = time.monotonic()
        if now - self._said < self._every_s or not 0 < self.done < self.total:
            return None
        self._said = now
        return (now - self._started) / self.done * (self.total - self.done)
