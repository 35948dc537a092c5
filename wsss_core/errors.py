"""The one exception for bad input: it names the file, key or value and what was expected."""


class InputError(ValueError):
    """What the user gave cannot be used; the command line prints one line and exits with 2."""
