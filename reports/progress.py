"""The progress of long work: a bar in a terminal or a notebook, messages everywhere."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

LOGGERS = tuple(logging.getLogger(name) for name in ("studies", "reports", "wsss_core"))
"""The loggers of the packages."""


@contextlib.contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """Hand the packages' log messages at INFO and above to a handler while the block runs."""
    levels = [logger.level for logger in LOGGERS]
    try:
        for logger in LOGGERS:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        yield
    finally:
        for logger, level in zip(LOGGERS, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def bars_are_shown() -> bool:
    """Return whether standard error is a terminal or a notebook's cell, where a bar can move."""
    kernel = sys.modules.get("ipykernel.zmqshell")
    if kernel is not None and kernel.ZMQInteractiveShell.initialized():
        return True
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no stream; a closed stream
        return False


def progress_bar(total: int, unit: str, *, bytes_: bool = False) -> "tqdm[object]":
    """Return a bar on standard error that vanishes at its end; it shows nothing in a pipe.

    Args:
        total: parts of the work.
        unit: the name of a part.
        bytes_: the parts are bytes.

    """
    # Loaded here: few commands show progress.
    from tqdm import tqdm

    return tqdm(
        total=total,
        unit=f" {unit}",
        unit_scale=bytes_,
        leave=False,
        dynamic_ncols=True,
        disable=not bars_are_shown(),
        file=sys.stderr,
    )


class Pace:
    """Counts what is done of a work whose parts take about equally long.

    Args:
        total: parts of the work.
        every_s: seconds between two messages.
        unit: the name of a part, for a bar where one is shown.
        bytes_: the parts are bytes.

    """

    def __init__(
        self, total: int, every_s: float, unit: str = "parts", *, bytes_: bool = False
    ) -> None:
        self.total, self.done = total, 0
        self._every_s = every_s
        self._started = self._said = time.monotonic()
        self._bar = progress_bar(total, unit, bytes_=bytes_)

    def add(self, count: int = 1) -> float | None:
        """Count parts that are done; seconds left if it is time to say so, else None.

        >>> Pace(total=10, every_s=0.0).add(0) is None  # nothing is done, so nothing is known
        True
        """
        self.done += count
        self._bar.update(count)
        if self.done >= self.total:
            self.close()
        now = time.monotonic()
        if now - self._said < self._every_s or not 0 < self.done < self.total:
            return None
        self._said = now
        return (now - self._started) / self.done * (self.total - self.done)

    def close(self) -> None:
        """Take the bar away; after the last part that is done already."""
        self._bar.close()
