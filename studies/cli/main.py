"""The command `wsss` and its exit codes.

Bad input gives one line on standard error and exit code 2. Failed trials give exit code 1, and so
does a storage that is full or unreachable. A run that Ctrl-C or SIGTERM ends gives 130. Each
command loads the heavy libraries that it needs.
"""

import platform
import shlex
import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from reports.storage import StorageError
from studies.cli.common import (
    FAILED,
    INTERRUPTED,
    USAGE_ERROR,
    Command,
    Parser,
    log_to_terminal,
    open_standard_streams,
    option,
    show,
)
from studies.cli.data import DATA
from studies.cli.export import EXPORT
from studies.cli.masks import MASKS
from studies.cli.report import REPORT, THRESHOLDS
from studies.cli.run import PLAN, RUN
from studies.cli.shipped import STUDIES
from studies.cli.status import STATUS
from studies.cli.store import STORE
from studies.cli.strict_json import json_alone
from studies.cli.suggestions import unknown_word
from studies.cli.weights import WEIGHTS
from wsss_core.errors import InputError, visible
from wsss_core.plugins import plugins_forbidden

HELP = Command(
    "help",
    "print the help of a command",
    "wsss help store verify",
    options=(option("words", nargs="*", metavar="COMMAND", help="its words [all commands]"),),
)

COMMANDS = (
    STUDIES, DATA, PLAN, RUN, STATUS, REPORT, EXPORT, THRESHOLDS, MASKS, STORE, WEIGHTS, HELP,
)  # fmt: skip
"""Every command, in the order in which a study needs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_standard_streams()
    options = _parsed(sys.argv[1:] if arguments is None else arguments)
    as_json = getattr(options, "json", False)
    try:
        with (
            json_alone() if as_json else nullcontext(),
            log_to_terminal(aside=options.aside or as_json),
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


def _parsed(arguments: Sequence[str]) -> Namespace:
    """Return the options of a command line; end the process where it is wrong, or asks for help."""
    words = list(arguments)
    if words[:1] == ["help"] and "--help" not in words:
        words = [*words[1:], "--help"]
    parser = command_line()
    if unknown := unknown_word(COMMANDS, words):
        path, said = unknown
        Parser(prog=path).error(said)
    options, beyond = parser.parse_known_args(words)
    if beyond:
        options.parser.error(f"unexpected {' '.join(beyond)}")
    if options.command is None:
        options.parser.print_help(sys.stderr)
        sys.exit(USAGE_ERROR)
    options.again = shlex.join(["wsss", *arguments])
    return options


def command_line() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="wsss",
        description="Studies of weakly supervised semantic segmentation.",
        epilog="Begin with: wsss run quickstart && wsss report results/quickstart",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the versions of wsss and its packages"
    )
    parser.set_defaults(command=None, aside=False, parser=parser)
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


class _Version(Action):
    """Prints versions as package metadata has them, and ends; no package is imported."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        """Print a line for each package."""
        from studies.store.origin import PACKAGES, installed_version

        names = ("wsss-studies", *PACKAGES)
        lines = [f"{name} {installed_version(name) or 'is not installed'}" for name in names]
        show("\n".join([*lines[:1], f"python {platform.python_version()}", *lines[1:]]))
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
