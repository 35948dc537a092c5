"""Progress inside long work: inner loops say that they came further, and whoever watches hears it.

A batch, an image or a step of a chain is progress. Work that says nothing for long hangs, or is one
call that takes long; a watcher cannot tell these apart and should wait generously.
"""

import contextlib
from collections.abc import Callable, Iterator

_listeners: list[Callable[[], None]] = []


def made_progress() -> None:
    """Tell every listener of this process that some work came further."""
    for hear in list(_listeners):
        hear()


@contextlib.contextmanager
def hearing_progress(hear: Callable[[], None]) -> Iterator[None]:
    """Call a function with each progress in this process while the block runs.

    Args:
        hear: called often, so it should take no time.

    >>> heard = []
    >>> with hearing_progress(lambda: heard.append(1)):
    ...     made_progress()
    >>> made_progress()
    >>> heard
    [1]
    """
    _listeners.append(hear)
    try:
        yield
    finally:
        _listeners.remove(hear)
