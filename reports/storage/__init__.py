"""Folders on any file system: paths of this machine, and URIs of file systems that fsspec knows."""

from reports.storage.folder import (
    FULL,
    MARK,
    Entry,
    Location,
    StorageError,
    below,
    error_number,
    is_uri,
    local_path,
    located,
    storage_errors,
    without_password,
)
from reports.storage.local import LocalFolder
from reports.storage.opening import Folder, open_folder
from reports.storage.retry import seconds_set

__all__ = [
    "FULL",
    "MARK",
    "Entry",
    "Folder",
    "LocalFolder",
    "Location",
    "StorageError",
    "below",
    "error_number",
    "is_uri",
    "local_path",
    "located",
    "open_folder",
    "seconds_set",
    "storage_errors",
    "without_password",
]
