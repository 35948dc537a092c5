"""Folders on any file system: paths of this machine, and URIs of file systems that fsspec knows."""

from reports.storage.errors import StorageError
from reports.storage.folder import Entry, Folder
from reports.storage.locations import Location, below, is_uri
from reports.storage.opening import open_folder

__all__ = ["Entry", "Folder", "Location", "StorageError", "below", "is_uri", "open_folder"]
