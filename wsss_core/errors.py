"""The one exception for bad input: it names the file, key or value and what was expected."""


class InputError(ValueError):
    """Bad input from the user; the command line prints one line and exits with 2."""


def one_line(text: object, limit: int | None = None) -> str:
    r"""Return a text or an error's message on one line, cut after `limit` characters.

    >>> one_line(ValueError("no\nsuch  thing"))
    'no such thing'
    """
    return " ".join(str(text).split())[:limit]
