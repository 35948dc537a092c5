"""Lines of progress for work over many files, a few seconds apart."""

import logging
import threading
import time

from wsss_core.progress import made_progress

logger = logging.getLogger(__name__)

_SECONDS = 5.0  # between two lines


class ProgressLines:
    """Counts steps from any thread, and logs how far the work is.

    Args:
        what: the work, for the line.
        total: how many steps there are.

    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._lock = threading.Lock()
        self._begun = self._said = time.monotonic()

    def step(self) -> None:
        """Count one step."""
        made_progress()
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._said < _SECONDS:
                return
            self._said = now
            done = self._done
        left = (now - self._begun) * (self._total - done) / done
        logger.info("%s: %d of %d, about %.0f s left", self._what, done, self._total, left)
