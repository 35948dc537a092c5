"""Common parts of the commands: exit codes, the commands as data, printing log messages."""

import argparse
import contextlib
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, TextIO

from reports.progress import logging_to
from reports.storage import Location, is_uri, local_path, located, without_password
from wsss_core.errors import InputError, one_line, quoted, visible

if TYPE_CHECKING:
    from wsss_core.data.pixel_rules import PixelRules

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


Option = tuple[tuple[str, ...], dict[str, Any]]
"""An option's names, and its settings as argparse takes them."""


def option(*names: str, **settings: Any) -> Option:
    """Return an option of a command; the arguments are those of argparse's `add_argument`."""
    return names, settings


NO_PLUGINS_OPTION = option(
    "--no-plugins",
    action="store_true",
    help="refuse plug-ins (module:attribute), for study files from strangers",
)


def a_location(text: str) -> Location:
    """Return the path or URI that an option names."""
    try:
        return located(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


RESULTS_OPTION = option(
    "results", type=a_location, metavar="RESULTS", help="a folder that `wsss run` wrote, or its URI"
)


def a_path(text: str) -> Path:
    """Return the path that an option names, where a URI has no place."""
    if is_uri(text):
        raise argparse.ArgumentTypeError(f"{quoted(text)}: expected a path of this machine")
    try:
        local_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def a_number(text: str) -> float:
    """Return the finite number that an option gives.

    >>> a_number("0.5")
    0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
    return number


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong with a command line."""

    def _print_message(self, message: str, file: Any = None) -> None:
        show(message.removesuffix("\n"), aside=file is not sys.stdout)

    def error(self, message: str) -> Never:
        """Print the message, and end with the exit code of bad input."""
        show(f"{self.prog}: {one_line(message)}; see {self.prog} --help", aside=True)
        self.exit(USAGE_ERROR)


def show(text: object, *, aside: bool = False, begin: str = "") -> bool:
    """Print a text: escapes that it holds are written out, passwords in URIs are left out.

    Nothing that is wrong with the stream ends the command: its work is worth more than its words.

    Args:
        text: names in it come from files, and may hold anything.
        aside: print to standard error.
        begin: a terminal's escape to print before the text.

    Returns:
        Whether it was printed; from the first failure on the stream is discarded.

    """
    stream = sys.stderr if aside else sys.stdout
    shown = visible(without_password(str(text)))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = begin + shown.encode(encoding, "replace").decode(encoding)
    try:
        with _above_bars(stream):
            print(line, file=stream, flush=True)
    except (OSError, ValueError) as error:  # a reader that has gone, a full disk; a closed stream
        _discard("stderr" if aside else "stdout")
        if not (aside or isinstance(error, BrokenPipeError)):
            said = f"standard output is lost ({one_line(error)}); the command goes on without it"
            show(f"wsss: {said}", aside=True)
        return False
    return True


def _above_bars(stream: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context that takes progress bars away and draws them again below what it prints."""
    module = sys.modules.get("tqdm.std")
    if module is None or not getattr(module.tqdm, "_instances", None):
        return contextlib.nullcontext()
    above: contextlib.AbstractContextManager[None] = module.tqdm.external_write_mode(file=stream)
    return above


def _discard(name: Literal["stdout", "stderr"]) -> None:
    """Let a standard stream write to nowhere, so that nobody fails who writes to it later."""
    try:
        # What it has buffered goes there too, when Python flushes it at exit.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), getattr(sys, name).fileno())
    except (OSError, ValueError):
        setattr(sys, name, _nowhere())


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def open_standard_streams() -> None:
    """Let standard streams that are closed (`>&-`) read and write nowhere.

    The next file to be opened would get the number of a closed one, and whatever any library prints
    would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, _nowhere())


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands.

    Attributes:
        name: the word to type.
        about: what it does, for its help.
        example: a whole command line.
        run: takes the parsed options and returns an exit code; None for a group.
        options: its options and arguments, in the order of its help.
        aside: log to standard error, because standard output is the command's result.
        parts: the commands of a group.

    """

    name: str
    about: str
    example: str
    run: Callable[[argparse.Namespace], int] | None = None
    options: tuple[Option, ...] = ()
    aside: bool = False
    parts: tuple["Command", ...] = ()

    def add_to(self, commands: "argparse._SubParsersAction[Any]") -> None:
        """Add the command, and those of its group, to a parser's commands."""
        parser = commands.add_parser(
            self.name, help=self.about, description=self.about, epilog=f"Example: {self.example}"
        )
        parser.set_defaults(command=self.run, aside=self.aside, parser=parser)
        for names, settings in self.options:
            parser.add_argument(*names, **settings)
        if self.parts:
            kinds = parser.add_subparsers(metavar="WHAT")
            for part in self.parts:
                part.add_to(kinds)


class _ToTerminal(logging.Handler):
    """A handler that prints messages as they are, to standard output or standard error."""

    def __init__(self, *, aside: bool) -> None:
        super().__init__(logging.INFO)
        self.aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; look the stream up now, because a caller may have replaced it."""
        show(self.format(record), aside=self.aside)


@contextlib.contextmanager
def log_to_terminal(*, aside: bool = False) -> Iterator[None]:
    """Print the packages' log messages at INFO and above while the block runs.

    Args:
        aside: print to standard error, because standard output is the command's result.

    """
    with logging_to(_ToTerminal(aside=aside)):
        yield


PIXEL_OPTIONS = (
    option(
        "--orientation",
        choices=("apply", "refuse", "ignore"),
        help="images with an EXIF orientation: turn them upright, refuse them, or read them as "
        "stored [refuse]",
    ),
    option("--largest-megapixels", type=int, metavar="N", help="of an image or mask [64]"),
    option(
        "--white-level",
        type=int,
        metavar="N",
        help="value of 16-bit images that becomes 255 [65535, and dark images are refused]",
    ),
)
"""Options of a command that reads images."""


def pixel_rules(options: argparse.Namespace) -> "PixelRules":
    """Return the rules that the options give; what no option says is as usual.

    Raises:
        InputError: a number is out of range.

    """
    from wsss_core.data.pixel_rules import PixelRules

    given = {one.name: getattr(options, one.name) for one in fields(PixelRules)}
    return PixelRules(**{name: value for name, value in given.items() if value is not None})


def options_named(errors: Iterable[str]) -> list[str]:
    """Return the options of these that decide what errors name as keys of a study's `data`.

    >>> options_named(["a.jpg: 70 megapixels; a larger `data: {largest_megapixels: ...}` reads it"])
    ['--largest-megapixels']
    """
    said = " ".join(errors)
    names = [names[0] for names, _ in PIXEL_OPTIONS]
    return [name for name in names if f"{{{name[2:].replace('-', '_')}: " in said]
