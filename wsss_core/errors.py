"""The one exception for bad input: it names the file, key or value and what was expected."""

import difflib
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUOTED = 60
"""As many characters of a wrong text are quoted in a message."""


class InputError(ValueError):
    """Bad input from the user; the command line prints one line and exits with 2."""


def one_line(text: object, limit: int | None = None) -> str:
    r"""Return a text or an error's message on one line, cut after `limit` characters.

    >>> one_line(ValueError("no\nsuch  thing"))
    'no such thing'
    """
    return " ".join(str(text).split())[:limit]


def raised(error: BaseException) -> str:
    """Return an exception's type and message on one line, the failing line if it has no message."""
    kind, text = type(error).__name__, one_line(error, 300)
    if text:
        return f"{kind}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    # A bare assertion fails in a helper, whose caller says what was asserted.
    line = next((f.line for f in reversed(frames) if f.name != "_assert"), None)
    return f"{kind} at `{one_line(line, 200)}`" if line else kind


def quoted(value: object) -> str:
    """Return a value as Python writes it, cut after `QUOTED` characters.

    Args:
        value: anything; of a long text or collection no more than the start is written.

    >>> quoted("x" * 100)[-6:]
    'xxx...'
    """
    text = repr(value[:QUOTED] if isinstance(value, str) else value)
    longer = len(text) > QUOTED or (isinstance(value, str) and len(value) > QUOTED)
    return f"{text[:QUOTED]}..." if longer else text


def visible(text: object, *, kept: str = "\n\t") -> str:
    r"""Return a text as a terminal may print it: what controls the terminal is written out.

    Args:
        text: anything; names of files and classes may hold escapes, which hide or fake lines.
        kept: control characters to leave as they are.

    >>> visible("smoke\x1b[2J\n")
    'smoke\\x1b[2J\n'
    """
    lines = str(text).split("\n") if "\n" in kept else [str(text)]
    return "\n".join(
        line if line.isprintable() else "".join(_written_out(line, kept)) for line in lines
    )


def _written_out(line: str, kept: str) -> Iterator[str]:
    for character in line:
        controls = unicodedata.category(character) in _NOT_PRINTED and character not in kept
        yield repr(character)[1:-1] if controls else character


_NOT_PRINTED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, of formats such as another direction, of lone surrogates, and
of ends of lines and paragraphs."""


def check_printable(text: str, where: str, allowed: str = "\n\t\r") -> None:
    """Raise unless a text can be printed and stored: no control characters, no lone surrogates.

    Args:
        text: the text.
        where: the file or key, for the message.
        allowed: control characters that it may hold.

    Raises:
        InputError: it holds one, which the message names.

    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in allowed:
            raise InputError(
                f"{where}: {quoted(text)} holds the control character U+{ord(character):04X}"
            )


LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes in the name of a file, and in a path, on the file systems of Linux."""


def checked_path(text: str | Path) -> Path:
    """Return the absolute path that a text names, `~` replaced by a home; it need not exist.

    Raises:
        InputError: there can be no such path: it is empty, too long, holds a NUL or is not UTF-8,
            or nobody has the home that it begins with.

    """
    written = str(text)
    if not written:
        raise InputError("a path is empty, expected a file or a folder")
    if "\0" in written:
        raise InputError(f"path {quoted(written)} holds a NUL character")
    try:
        path = Path(written).expanduser().absolute()
        longest = max((len(part.encode()) for part in path.parts), default=0)
        if longest > LONGEST_NAME or len(str(path).encode()) > LONGEST_PATH:
            raise InputError(
                f"path {quoted(written)} is too long: expected at most {LONGEST_NAME} bytes in a "
                f"name and {LONGEST_PATH} in all"
            )
    except UnicodeEncodeError as error:
        raise InputError(f"path {quoted(written)} is not UTF-8") from error
    except RuntimeError as error:
        raise InputError(f"path {quoted(written)}: {one_line(error)}") from error
    return path


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that a mistyped one is most like, or None.

    Args:
        name: what was given.
        known: the names there are.
        cutoff: how alike they must be, from 0 (anything) to 1 (equal); see `difflib`.

    >>> nearest("cosin", ["cosine", "l1"])
    'cosine'
    """
    return next(
        iter(difflib.get_close_matches(str(name)[:200], list(map(str, known)), n=1, cutoff=cutoff)),
        None,
    )


@contextmanager
def as_input_error(
    said: str,
    *kinds: type[Exception],
    error: type[InputError] = InputError,
    named: bool = False,
) -> Iterator[None]:
    """Turn errors of these kinds into bad input: what was done, a colon, the error's own message.

    Args:
        said: what failed, with the file, key or value.
        kinds: the errors that bad input causes there.
        error: the class to raise, `InputError` or one made of it.
        named: whether the kind of the error is said before its message, as for a user's own code.

    """
    try:
        yield
    except kinds as cause:
        kind = f"{type(cause).__name__}: " if named else ""
        raise error(f"{said}: {kind}{one_line(cause)}") from cause
