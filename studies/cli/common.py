"""Common parts of the commands: exit codes, adding a command, printing log messages."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_LOGGED = ("studies", "reports", "wsss_core")


def add_command(
    commands: "Commands",
    name: str,
    function: Callable[[argparse.Namespace], int],
    help_text: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command; `function` takes its options and returns an exit code."""
    command = commands.add_parser(
        name, help=help_text, description=help_text, epilog=f"Example: {example}"
    )
    command.set_defaults(command=function)
    return command


class _ToTerminal(logging.Handler):
    """A handler that prints messages as they are, to standard output or standard error."""

    def __init__(self, *, aside: bool) -> None:
        super().__init__(logging.INFO)
        self.aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; look the stream up now, because a caller may have replaced it."""
        print(self.format(record), file=sys.stderr if self.aside else sys.stdout, flush=True)


@contextlib.contextmanager
def log_to_terminal(*, aside: bool = False) -> Iterator[None]:
    """Print the packages' log messages at INFO and above while the block runs.

    Args:
        aside: print to standard error, because standard output is the command's result.

    """
    handler = _ToTerminal(aside=aside)
    loggers = [logging.getLogger(name) for name in _LOGGED]
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
