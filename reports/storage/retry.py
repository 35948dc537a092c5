"""Retrying a storage that does not answer for a moment; an error if it stays out of reach."""

import errno
import math
import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from reports.storage.folder import FULL, StorageError
from wsss_core.errors import QUOTED, InputError, one_line

TIMEOUT = "WSSS_STORAGE_TIMEOUT"
"""Environment variable: seconds for which an unreachable storage is retried; 60 if unset."""

OLD_TIMEOUT = "WSSS_STORAGE_PATIENCE"
"""The older name of the same variable; it counts where the new one is not set."""

_TRANSIENT = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETUNREACH, errno.ENETDOWN, errno.EREMOTEIO, errno.EAGAIN, errno.ECONNREFUSED,
    errno.ECONNRESET, errno.ECONNABORTED, errno.EBUSY, errno.ENODEV, errno.ENXIO,
}  # fmt: skip

_T = TypeVar("_T")
_P = ParamSpec("_P")


class TransientError(OSError):
    """A remote file system failed in a way that may pass."""


def timeout() -> float:
    """Return for how many seconds a storage that does not answer is retried.

    Raises:
        InputError: the environment variable holds no number of seconds.

    """
    name = OLD_TIMEOUT if OLD_TIMEOUT in os.environ and TIMEOUT not in os.environ else TIMEOUT
    return seconds_set(name, 60.0)


def seconds_set(name: str, default: float) -> float:
    """Return the seconds that an environment variable sets.

    Args:
        name: the variable.
        default: the seconds if it is not set.

    Raises:
        InputError: it is set to anything but a finite number above 0.

    """
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"{name}={text[:QUOTED]}: expected a number of seconds above 0")
    return seconds


def retry(action: Callable[[], _T], where: str, is_there: Callable[[], bool]) -> _T:
    """Run an action on a file system; run it again while the file system is out of reach.

    Args:
        action: each attempt runs it from its beginning.
        where: the storage's name in messages.
        is_there: asked when a file is not found: True if only the file is missing, False if its
            whole file system is.

    Raises:
        StorageError: no space is left, or the storage stays out of reach for longer than `timeout`.
        OSError: any other failure, at once.

    """
    deadline = time.monotonic() + timeout()
    pause = 0.1
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno in FULL:
                raise StorageError(f"{where}: no space left on the storage") from error
            transient = error.errno in _TRANSIENT or isinstance(error, TransientError)
            if not transient and (not isinstance(error, FileNotFoundError) or is_there()):
                raise
            if time.monotonic() > deadline:
                reason = error.strerror or one_line(error, 200)
                raise StorageError(
                    f"{where}: the storage stays out of reach ({reason}); finished work is kept"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def retried(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T]:
    """Have a folder's `_do` run a method, from its beginning in each attempt."""

    @wraps(method)
    def call(folder: Any, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        result: _T = folder._do(lambda: method(folder, *args, **kwargs))
        return result

    return call
