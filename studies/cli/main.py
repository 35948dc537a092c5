"""The command `wsss` and its exit codes.

Bad input gives one line on standard error and exit code 2. Failed trials give exit code 1, and so
does a storage that is full or unreachable. A run that Ctrl-C or SIGTERM ends gives 130. Each
command loads the heavy libraries that it needs.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from reports.storage import StorageError
from studies.cli.common import (
    FAILED,
    INTERRUPTED,
    USAGE_ERROR,
    Parser,
    log_to_terminal,
    open_standard_streams,
    show,
)
from studies.cli.data import DATA
from studies.cli.masks import MASKS
from studies.cli.report import REPORT, THRESHOLDS
from studies.cli.run import PLAN, RUN
from studies.cli.status import STATUS
from studies.cli.store import STORE
from studies.cli.weights import WEIGHTS
from wsss_core.errors import InputError, visible
from wsss_core.plugins import plugins_forbidden


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_standard_streams()
    options = _parser().parse_args(arguments)
    options.again = shlex.join(["wsss", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with (
            log_to_terminal(aside=options.aside),
            plugins_forbidden(getattr(options, "no_plugins", False)),
        ):
            return int(options.command(options))
    except StorageError as error:
        show(f"wsss: {_on_one_line(error)}", aside=True)
        show(f"finished work is kept; go on with: {options.again}", aside=True)
        return FAILED
    except InputError as error:
        show(f"wsss: {_on_one_line(error)}", aside=True)
        return USAGE_ERROR
    except MemoryError as error:
        said = f" ({_on_one_line(error)})" if str(error) else ""
        show(f"wsss: this machine's memory does not suffice{said}", aside=True)
        return USAGE_ERROR
    except KeyboardInterrupt:
        show(f"wsss: interrupted; finished work is kept; go on with: {options.again}", aside=True)
        return INTERRUPTED


def _on_one_line(error: BaseException) -> str:
    """Return an error's message; the ends of lines in it are written out, as in a file's name."""
    return visible(error, kept="")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="wsss",
        description="Studies of weakly supervised semantic segmentation.",
        epilog="Begin with: wsss run quickstart && wsss report results/quickstart",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (PLAN, RUN, REPORT, THRESHOLDS, MASKS, STATUS, STORE, DATA, WEIGHTS):
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
