"""The command `wsss` and its exit codes.

Bad input gives one line on standard error and exit code 2. Failed trials give exit code 1, and so
does a storage that is full or unreachable. A run that Ctrl-C or SIGTERM ends gives 130. Each
command loads the heavy libraries that it needs.
"""

import platform
import shlex
import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
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
from studies.cli.masks import MASKS, SEGMENT
from studies.cli.report import COMPARE, REPORT, THRESHOLDS
from studies.cli.run import PLAN, RUN
from studies.cli.shipped import STUDIES
from studies.cli.status import CANCEL, STATUS
from studies.cli.store import STORE
from studies.cli.strict_json import json_alone
from studies.cli.weights import WEIGHTS
from wsss_core.errors import InputError, nearest, quoted, visible
from wsss_core.plugins import plugins_forbidden

HELP = Command(
    "help",
    "print the help of a command",
    "wsss help store verify",
    options=(option("words", nargs="*", metavar="COMMAND", help="its words [all commands]"),),
)

COMMANDS = (
    STUDIES, DATA, PLAN, RUN, STATUS, CANCEL, REPORT, EXPORT, THRESHOLDS, COMPARE, MASKS, SEGMENT,
    STORE, WEIGHTS, HELP,
)  # fmt: skip
"""Every command, in the order in which a study needs them."""

_CONFIGS = Path(__file__).parents[1] / "configs"


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
    if unknown := _unknown_word(COMMANDS, words):
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
        from wsss_core.version import DISTRIBUTION, __version__

        found = {name: installed_version(name) or "is not installed" for name in PACKAGES}
        versions = {DISTRIBUTION: __version__, "python": platform.python_version(), **found}
        show("\n".join(f"{name} {version}" for name, version in versions.items()))
        parser.exit()


def _unknown_word(commands: Sequence[Command], arguments: Sequence[str]) -> tuple[str, str] | None:
    """Return which command does not know a word of a command line, and what to say of it.

    Args:
        commands: all there are.
        arguments: the words after `wsss`.

    Returns:
        The command's words ("wsss store") and a message; None if every word is known.

    """
    path, parts, command = "wsss", commands, None
    words = list(arguments)
    while parts and words and not words[0].startswith("-"):
        word = words.pop(0)
        command = next((part for part in parts if part.name == word), None)
        if command is None:
            return path, _unknown_command(word, parts, commands)
        path, parts = f"{path} {word}", command.parts
    known = {"--help", *(("--version",) if command is None else _options(command))}
    for word in words:
        if word == "--":
            break
        name = word.partition("=")[0]
        # argparse takes what holds a space for a value, and the beginning of a name for the name.
        if not word.startswith("--") or " " in word or any(o.startswith(name) for o in known):
            continue
        return path, _unknown_option(name, known, commands)
    return None


def _unknown_command(word: str, parts: Sequence[Command], commands: Sequence[Command]) -> str:
    said = f"unknown command {quoted(word)}"
    if parts is commands:
        if word.endswith((".yaml", ".yml")) or (_CONFIGS / f"{word}.yaml").is_file():
            return f"{said}; a study is run with: wsss run {word}"
        inner = next((path for path, part in _walk(commands) if part.name == word), None)
        if inner is not None:
            return f"{said}; did you mean {inner!r}?"
    names = [part.name for part in parts]
    near = nearest(word, [*names, "--version"] if parts is commands else names)
    return f"{said}; " + (f"did you mean {near!r}?" if near else f"expected {', '.join(names)}")


def _unknown_option(name: str, known: set[str], commands: Sequence[Command]) -> str:
    said = f"unknown option {quoted(name)}"
    if near := nearest(name, known, 0.7):
        return f"{said}; did you mean {near!r}?"
    others = [path for path, command in _walk(commands) if name in _options(command)]
    return f"{said}, which is one of {', '.join(others)}" if others else said


def _options(command: Command) -> list[str]:
    return [name for names, _ in command.options for name in names if name.startswith("--")]


def _walk(commands: Sequence[Command], path: str = "wsss") -> Iterator[tuple[str, Command]]:
    for command in commands:
        yield f"{path} {command.name}", command
        yield from _walk(command.parts, f"{path} {command.name}")


if __name__ == "__main__":
    sys.exit(main())
