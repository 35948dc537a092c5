"""The one exception for bad input: it names the file, key or value and what was expected."""

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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


def check_printable(text: str, where: str) -> None:
    """Raise unless a text can be printed and stored: no control characters, no lone surrogates.

    Args:
        text: it may hold line breaks and tabs.
        where: the file or key, for the message.

    Raises:
        InputError: it holds one, which the message names.

    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t\r":
            raise InputError(
                f"{where}: {quoted(text)} holds the control character U+{ord(character):04X}"
            )


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that a mistyped one is most like, or None.

    Args:
        name: what was given.
        known: the names there are.
        cutoff: how alike they must be, from 0 (anything) to 1 (equal); see `difflib`.

    >>> nearest("cosin", ["cosine", "l1"])
    'cosine'
    """
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


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
