"""Opening a folder on this machine's file systems or at a URI."""

from reports.storage.folder import Location, is_uri
from reports.storage.local import LocalFolder
from reports.storage.remote import RemoteFolder

Folder = LocalFolder | RemoteFolder
"""A folder on some file system; `LocalFolder` says what its methods do."""


def open_folder(where: Location, *, make: bool = False, expect: bool = False) -> Folder:
    """Open a folder; without `make` nothing is written.

    Args:
        where: a path or a URI.
        make: make the folder if it does not exist, and mark it (the driver of a run).
        expect: the folder was made before: wait until it appears (a worker).

    Raises:
        InputError: the URI's file system is unknown or its package is not installed, or the
            folder cannot be written.
        StorageError: the folder is expected and stays out of reach.

    """
    folder = RemoteFolder.opened(str(where)) if is_uri(where) else LocalFolder.opened(where)
    if make:
        folder.make()
    if expect:
        folder.await_mark()
    return folder
