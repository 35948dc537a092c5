"""The error of a storage that cannot be used."""

import errno

from wsss_core.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a storage without space."""


class StorageError(InputError):
    """A storage stays out of reach, is full or refuses access; the message names it."""
