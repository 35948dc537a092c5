"""Folders of this machine's file systems, shared ones included.

A run marks each folder it makes with a small file. If the mark is gone, the file system is not
mounted (an NFS mount point without its mount is an empty folder). Then no file counts as missing,
and nothing is written below the empty mount point, whichever folder below it was opened.
"""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from reports.storage.folder import (
    MARK,
    Entry,
    Location,
    StorageError,
    local_path,
    plain_name,
)
from reports.storage.retry import retried, retry
from wsss_core.errors import InputError
from wsss_core.whole_files import sync_folder

_MARK_TEXT = b"A folder that wsss writes to; this file shows that its file system is there.\n"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_T = TypeVar("_T")
_marked: set[str] = set()
"""The folders that this process knows to carry a mark."""


class LocalFolder:
    """A folder below one that may carry a mark; names are those of files directly in it.

    A name that leads out of the folder (empty, with a slash, `..`) raises ValueError.

    Args:
        anchor: the folder whose mark counts.
        names: the path from there to this folder.

    """

    def __init__(self, anchor: Path, names: tuple[str, ...] = ()) -> None:
        self._anchor = anchor
        self._names = names
        self.path = anchor.joinpath(*names)
        self.where = str(self.path)

    @classmethod
    def opened(cls, where: Location) -> "LocalFolder":
        """Open a folder; its anchor is itself, or the nearest folder above that carries a mark.

        Only marks count that this process has seen: a folder may be away when it is opened.
        """
        path = local_path(where)
        if str(path) not in _marked and (path / MARK).is_file():
            _marked.add(str(path))
        anchor = next((place for place in (path, *path.parents) if str(place) in _marked), path)
        return cls(anchor, path.relative_to(anchor).parts)

    def joined(self, *names: str) -> "LocalFolder":
        """Return a folder below this one, with the same anchor."""
        return LocalFolder(self._anchor, (*self._names, *map(plain_name, names)))

    def make(self) -> None:
        """Make and mark the folder; if it was marked before, wait for it instead."""
        try:
            self.ensure()
            self.write(MARK, _MARK_TEXT)
        except OSError as error:
            raise InputError(
                f"folder {self.path} is not writable ({error.strerror}); expected one for results"
            ) from error
        self._is_marked()

    def await_mark(self) -> None:
        """Wait until its mark appears, once in this process."""
        if self.where not in _marked:
            retry((self.path / MARK).stat, self.where, lambda: False)
        self._is_marked()

    def _is_marked(self) -> None:
        _marked.add(self.where)
        self._anchor, self._names = self.path, ()

    def _require_mark(self) -> None:
        (self._anchor / MARK).stat()

    def _is_there(self) -> bool:
        # A folder that no run has made has no mark to look for.
        return str(self._anchor) not in _marked or (self._anchor / MARK).is_file()

    def _do(self, action: Callable[[], _T]) -> _T:
        return retry(action, self.where, self._is_there)

    def _file(self, name: str) -> Path:
        return self.path / plain_name(name)

    @retried
    def ensure(self, *, synced: bool = True) -> None:
        """Make the folder if it does not exist; wait for the marked one above it.

        Args:
            synced: whether it has to outlive a loss of power.

        """
        self._ensure(synced=synced)

    def _ensure(self, *, synced: bool = True) -> None:
        """Make the folder, but never a marked anchor: if that is gone, it is not mounted."""
        if str(self._anchor) not in _marked:
            _make_folder(self.path, synced=synced)
            return
        self._require_mark()
        _make_folder(self.path, below=self._anchor, synced=synced)

    @contextlib.contextmanager
    def _beside(self, name: str) -> Iterator[Path]:
        """Give a temporary name beside a file's; it is removed after the block."""
        file = self._file(name)
        self._ensure()
        unfinished = file.with_name(f".{name}.{uuid.uuid4().hex}.tmp")
        try:
            yield unfinished
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _rename(self, unfinished: Path, name: str) -> None:
        """Give a file its name; the entry outlives a loss of power."""
        os.replace(unfinished, self.path / name)
        sync_folder(self.path)

    @retried
    def read(self, name: str) -> bytes:
        """Return a file's content; raise FileNotFoundError if there is no such file."""
        return self._file(name).read_bytes()

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the contents of files in their order; a remote folder requests several at once."""
        return map(self.read, names)

    def read_ends(self, sizes: Sequence[tuple[str, int]], length: int) -> Iterator[bytes]:
        """Yield the last bytes of files in their order.

        Args:
            sizes: name and size of each file.
            length: how many bytes; all of a file that has fewer.

        """
        return (self._read_end(name, length) for name, _ in sizes)

    @retried
    def _read_end(self, name: str, length: int) -> bytes:
        opened = os.open(self._file(name), os.O_RDONLY)
        try:
            size = os.fstat(opened).st_size
            return os.pread(opened, length, max(0, size - length))
        finally:
            os.close(opened)

    @retried
    def write(self, name: str, content: bytes) -> None:
        """Write a file whole; replace a file of that name."""
        with self._beside(name) as unfinished:
            _write_through(unfinished, content)
            self._rename(unfinished, name)

    @retried
    def create(self, name: str, content: bytes) -> bool:
        """Write a file whole unless the name is taken; return whether this call wrote it.

        Different callers must give different contents: if an answer is lost on its way, a caller
        recognises its own file by the content.
        """
        with self._beside(name) as unfinished:
            _write_through(unfinished, content)
            try:
                os.link(unfinished, self.path / name)
            except FileExistsError:
                # NFS may ask its server twice if the first answer was lost.
                return unfinished.stat().st_nlink == 2
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if not _created_without_links(self.path / name, content):
                    return False
            sync_folder(self.path)
        return True

    def has(self, name: str) -> bool:
        """Return whether a file of that name exists."""
        try:
            self._do(self._file(name).stat)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False  # a link that leads to itself
            raise
        return True

    def listing(self, *, hidden: bool = False) -> dict[str, Entry]:
        """Return the files directly in it by name, in order: hidden ones (".x"), or the others."""
        found = {}
        for entry in self._entries():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if entry.name.startswith(".") == hidden and _is_file(entry):
                    found[entry.name] = _entry(entry.stat())
        return found

    def folders(self) -> list[str]:
        """Return the names of the folders directly in it, in order."""
        return [entry.name for entry in self._entries() if entry.is_dir()]

    @retried
    def _scanned(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        if not found and not self._names and str(self._anchor) in _marked:
            self._require_mark()  # an empty mount point has no files either
        return found

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            return self._scanned()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def tree(self) -> dict[str, Entry]:
        """Return all files below it, hidden ones too, by their paths from here, in order.

        Symbolic links count as files and are not followed. An empty folder is listed as a path
        that ends with a slash.
        """
        self._entries()  # waits until it is there
        found = {}
        for folder, folders, files in os.walk(self.path):
            here = Path(folder)
            links = [name for name in folders if (here / name).is_symlink()]
            names = [*files, *links] or ([] if folders or here == self.path else [""])
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    path = (here / name).relative_to(self.path).as_posix()
                    found[path if name else f"{path}/"] = _entry((here / name).lstat())
        return dict(sorted(found.items()))

    @retried
    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        self._file(name).unlink(missing_ok=True)

    @retried
    def delete_all(self) -> None:
        """Delete the folder with everything in it."""

        def still_there(_: object, path: str, error: tuple[Any, BaseException, Any]) -> None:
            if not isinstance(error[1], FileNotFoundError):
                raise error[1]

        shutil.rmtree(self.path, onerror=still_there)

    @retried
    def put(self, file: Path, name: str) -> None:
        """Copy a file of this machine here, whole."""
        with self._beside(name) as unfinished:
            shutil.copyfile(file, unfinished)
            with unfinished.open("rb") as opened:
                os.fsync(opened.fileno())
            try:
                self._rename(unfinished, name)
            except IsADirectoryError as error:
                raise StorageError(
                    f"{self.path / name}: is a folder, expected a file or nothing; move it away"
                ) from error

    @retried
    def get(self, name: str, file: Path) -> None:
        """Copy a file from here to this machine; an interrupted copy leaves a part of it."""
        shutil.copyfile(self._file(name), file)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file or leads to one; a link that leads to itself does not."""
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _entry(state: os.stat_result) -> Entry:
    size = 0 if stat.S_ISDIR(state.st_mode) else state.st_size
    return Entry(size, f"{state.st_mtime_ns}-{state.st_ino}", state.st_mtime)


def _make_folder(folder: Path, below: Path | None = None, *, synced: bool) -> None:
    """Make a folder and those above it, up to `below`; `synced` writes their entries to the disk.

    If `below` is gone meanwhile, FileNotFoundError says so, and nothing is made in its place.
    """
    made = []
    for place in (folder, *folder.parents):
        if place == below or place.exists():
            break
        made.append(place)
    for place in reversed(made):
        place.mkdir(exist_ok=True)
    for place in made if synced else ():
        sync_folder(place.parent)


def _write_through(file: Path, content: bytes, mode: str = "wb") -> None:
    with file.open(mode) as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _created_without_links(file: Path, content: bytes) -> bool:
    """Create a file without hard links; a reader may see the file before it is whole."""
    try:
        _write_through(file, content, "xb")
    except FileExistsError:
        return False
    return True
