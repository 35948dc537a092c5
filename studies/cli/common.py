"""What every command does: it prints what the packages log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

PACKAGES = ("studies", "reports", "wsss_core")


class _ToTerminal(logging.Handler):
    """Prints messages as they are: to standard output, or to standard error."""

    def __init__(self, *, aside: bool) -> None:
        super().__init__(logging.INFO)
        self.aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; the streams are looked up now, as a caller may have replaced them."""
        print(self.format(record), file=sys.stderr if self.aside else sys.stdout, flush=True)


@contextlib.contextmanager
def log_to_terminal(*, aside: bool = False) -> Iterator[None]:
    """Print what the packages log, from INFO on, while the block runs.

    Args:
        aside: print to standard error: standard output is the command's result.

    """
    handler = _ToTerminal(aside=aside)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
