"""Waiting for a storage that is away for a moment, and saying so when it stays away."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from reports.storage.folder import FULL, StorageError
from wsss_core.errors import InputError, one_line

PATIENCE = "WSSS_STORAGE_PATIENCE"
"""Environment variable: for how many seconds an unreachable storage is waited for [60]."""

_AWAY = {
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETUNREACH, errno.ENETDOWN, errno.EREMOTEIO, errno.EAGAIN, errno.ECONNREFUSED,
    errno.ECONNRESET, errno.ECONNABORTED, errno.EBUSY, errno.ENODEV, errno.ENXIO,
}  # fmt: skip

_T = TypeVar("_T")


class UnansweredError(OSError):
    """A remote file system failed in a way that may pass."""


def patience() -> float:
    """For how many seconds a storage that does not answer is waited for.

    Raises:
        InputError: the environment says something else than a number.

    """
    text = os.environ.get(PATIENCE, "60")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{PATIENCE}={text}: expected a number of seconds") from None


def patiently(action: Callable[[], _T], where: str, is_there: Callable[[], bool]) -> _T:
    """Do something on a file system, again while it is away.

    Args:
        action: what to do; done again from its beginning.
        where: what messages call the storage.
        is_there: whether a file that is not found is missing, or its whole file system.

    Raises:
        StorageError: no space is left, or it stays away for longer than `patience`.
        OSError: what else goes wrong, at once.

    """
    deadline = time.monotonic() + patience()
    pause = 0.1
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno in FULL:
                raise StorageError(f"{where}: no space left on the storage") from error
            away = error.errno in _AWAY or isinstance(error, UnansweredError)
            if not away and (not isinstance(error, FileNotFoundError) or is_there()):
                raise
            if time.monotonic() > deadline:
                said = error.strerror or one_line(error, 200)
                raise StorageError(
                    f"{where}: the storage stays out of reach ({said}); what is finished is kept"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
