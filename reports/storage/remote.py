"""Folders of object stores and of the other file systems that fsspec knows.

Endpoints and credentials come from the environment, as the package of each file system documents:
for S3 `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and so on.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from reports.storage.folder import FULL, MARK, Entry, StorageError, located, plain_name
from reports.storage.retry import TransientError, retried, retry
from wsss_core.errors import InputError, one_line

_MARK_TEXT = b"A folder that wsss writes to.\n"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""They need no folders; a missing bucket is a mistake of the user, and is not made."""

_LASTING = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "ParamValidationError", "InvalidRegionError", "InvalidEndpointConfigurationError",
    "DefaultCredentialsError", "ValueError", "TypeError", "NotImplementedError",
}  # fmt: skip
"""Names of errors that retrying cannot mend; their packages need not be installed."""

_AT_ONCE = 64
"""Files requested together; each is held in memory until it is read."""

_T = TypeVar("_T")
_creating = threading.Lock()
"""A lock: fsspec's file system in memory creates a file in two steps."""


class RemoteFolder:
    """A folder at a URI; `reports.storage.local.LocalFolder` says what its methods do.

    Args:
        where: its URI.

    """

    def __init__(self, where: str) -> None:
        self.where = where.rstrip("/")

    @classmethod
    def opened(cls, where: str) -> "RemoteFolder":
        """Open a folder.

        Raises:
            InputError: there can be no such URI, or its file system is unknown.
            StorageError: the file system does not answer.

        """
        where = str(located(where))
        try:
            _opened(where, os.getpid())
        except InputError:
            raise
        except Exception as error:
            # Some file systems connect as soon as they are opened, and raise what they like.
            reason = one_line(f"{type(error).__name__}: {error}", 300)
            raise StorageError(f"{where}: cannot be opened ({reason})") from error
        return cls(where)

    @property
    def _files(self) -> Any:
        # One per process: connections do not survive a fork.
        return _opened(self.where, os.getpid())[0]

    @property
    def _path(self) -> str:
        return _opened(self.where, os.getpid())[1]

    def joined(self, *names: str) -> "RemoteFolder":
        """Return a folder below this one."""
        return RemoteFolder("/".join([self.where, *map(plain_name, names)]))

    def make(self) -> None:
        """Mark the folder; object stores have no folders to make."""
        try:
            self.write(MARK, _MARK_TEXT)
        except OSError as error:
            reason = one_line(error, 300)
            raise InputError(f"{self.where}: cannot be written ({reason})") from error

    def await_mark(self) -> None:
        """Do nothing: a storage out of reach does not answer, and each action retries."""

    def _do(self, action: Callable[[], _T]) -> _T:
        def answered() -> _T:
            try:
                return action()
            except (FileNotFoundError, FileExistsError, InputError):
                raise
            except PermissionError as error:
                raise StorageError(f"{self.where}: access is refused ({error})") from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                if type(error).__name__ in _LASTING:
                    raise StorageError(f"{self.where}: cannot be used ({reason})") from error
                raise TransientError(None, reason) from error

        # A file that an object store does not find is missing: there is no mount to be lost.
        return retry(answered, self.where, lambda: True)

    def _at(self, name: str) -> str:
        return f"{self._path}/{plain_name(name)}"

    def _ensure(self) -> None:
        if _protocol(self.where) not in _OBJECT_STORES:
            self._files.makedirs(self._path, exist_ok=True)

    @retried
    def read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(self._at(name))
        return content

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        for start in range(0, len(names), _AT_ONCE):
            paths = [self._at(name) for name in names[start : start + _AT_ONCE]]
            found = self._do(lambda paths=paths: self._files.cat(paths))  # type: ignore[misc]
            yield from (found[path] for path in paths)

    def read_ends(self, sizes: Sequence[tuple[str, int]], length: int) -> Iterator[bytes]:
        for start in range(0, len(sizes), _AT_ONCE):
            some = sizes[start : start + _AT_ONCE]
            paths = [self._at(name) for name, _ in some]
            begins = [max(0, size - length) for _, size in some]
            ends = [size for _, size in some]
            yield from self._do(lambda p=paths, b=begins, e=ends: self._ranges(p, b, e))  # type: ignore[misc]

    def _ranges(self, paths: list[str], begins: list[int], ends: list[int]) -> list[bytes]:
        found: list[bytes] = self._files.cat_ranges(paths, begins, ends, on_error="raise")
        return found

    @retried
    def write(self, name: str, content: bytes) -> None:
        self._ensure()
        self._files.pipe_file(self._at(name), content)

    @retried
    def create(self, name: str, content: bytes) -> bool:
        self._ensure()
        try:
            with _creating if _protocol(self.where) == "memory" else contextlib.nullcontext():
                self._files.pipe_file(self._at(name), content, mode="create")
        except OSError:
            # Some stores refuse with another error than FileExistsError. And a request is sent
            # again if its answer was lost; then the store refuses it because of itself.
            if not self._files.exists(self._at(name)):
                raise
            return bool(self._files.cat_file(self._at(name)) == content)
        return True

    @retried
    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._at(name)))

    @retried
    def _entries(self) -> list[dict[str, Any]]:
        try:
            found = self._files.ls(self._path, detail=True)
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda entry: str(entry["name"]))

    def listing(self, *, hidden: bool = False) -> dict[str, Entry]:
        return {
            name: _entry(entry)
            for entry in self._entries()
            if entry["type"] == "file"
            and (name := str(entry["name"]).rpartition("/")[2])
            and name.startswith(".") == hidden
        }

    def folders(self) -> list[str]:
        return [
            str(entry["name"]).rstrip("/").rpartition("/")[2]
            for entry in self._entries()
            if entry["type"] == "directory"
        ]

    @retried
    def tree(self) -> dict[str, Entry]:
        return {
            path.removeprefix(f"{self._path}/"): _entry(entry)
            for path, entry in sorted(self._files.find(self._path, detail=True).items())
        }

    @retried
    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    @retried
    def delete_all(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(self._path, recursive=True)

    @retried
    def put(self, file: Path, name: str) -> None:
        self._ensure()
        self._files.put_file(str(file), self._at(name))

    @retried
    def get(self, name: str, file: Path) -> None:
        try:
            self._files.get_file(self._at(name), str(file))
        except OSError as error:
            if error.errno in FULL:  # of this machine
                raise StorageError(f"{file.parent}: no space left on the storage") from error
            raise


def _protocol(where: str) -> str:
    return where.partition("://")[0]


@lru_cache(maxsize=4096)
def _opened(where: str, process: int) -> tuple[Any, str]:
    """Return the file system of a URI and the path there, for one process.

    Raises:
        InputError: it is unknown, or its package is not installed.

    """
    import fsspec

    protocol = _protocol(where)
    try:
        files, path = fsspec.core.url_to_fs(where, use_listings_cache=False)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f"pip install 'wsss-studies[{extra}]'" if extra else f"{error}"
        raise InputError(f"{where}: needs a package that is not installed: {hint}") from error
    except ValueError as error:
        raise InputError(f"{where}: {protocol}:// is no file system known here") from error
    return files, str(path).rstrip("/")


def _entry(entry: dict[str, Any]) -> Entry:
    return Entry(int(entry["size"] or 0), _changed(entry), _modified(entry))


def _changed(entry: dict[str, Any]) -> str:
    """Return a text that differs between versions of a remote file."""
    for key in ("ETag", "etag", "LastModified", "mtime", "updated", "created"):
        if entry.get(key) is not None:
            return str(entry[key])
    return ""


def _modified(entry: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        time = entry.get(key)
        if isinstance(time, str):
            with contextlib.suppress(ValueError):
                time = datetime.fromisoformat(time)
        if isinstance(time, datetime):
            return time.timestamp()
        if isinstance(time, int | float):
            return float(time)
    return 0.0
