"""The artifact store: finished stages by key, on this machine or at a URI.

A reader sees an artifact whole or not at all. Two builders of one key make the same thing: the
first to end stays, and the work of the other is dropped. `studies.store.layout` says where what
lies; `studies.store.files` knows what a kind of file system can do.
"""

import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.storage import (
    FULL,
    Folder,
    Location,
    StorageError,
    error_number,
    is_uri,
    local_path,
    open_folder,
)
from studies.store.files import LocalFiles, RemoteFiles
from studies.store.keys import VERSIONS
from studies.store.layout import MANIFEST, QUARANTINE, stage_and_key
from studies.store.leases import Leases
from studies.store.manifest import Manifest, forget, is_sound, name_of
from studies.store.origin import made_by
from wsss_core.errors import InputError, one_line

logger = logging.getLogger(__name__)

_NOT_UNDERSTOOD = (ValueError, LookupError, EOFError, SyntaxError)
"""What readers of JSON, NumPy and Parquet files raise of content that is none."""


class CorruptArtifactError(StorageError):
    """An artifact differs from its manifest; it is quarantined, and the next run makes it anew."""


class ArtifactStore:
    """Finished stages by key, in a folder of this machine or at a URI.

    A stage is a name of `studies.store.keys.VERSIONS`, a key is what `studies.store.keys.stage_key`
    returns.

    Args:
        where: a path or a URI. `make`, or the first artifact, makes the store there.
        expect: it was made before: wait for it if its file system is away (a worker).

    Attributes:
        remote: whether it lies on another file system than this machine's.
        folder: the store.
        where: its path or URI.
        leases: who makes what.

    """

    def __init__(self, where: Location, *, expect: bool = False) -> None:
        self.remote = is_uri(where)
        self.folder: Folder = open_folder(where, expect=expect)
        self.where = self.folder.where
        self.leases = Leases(self.folder)
        self._files = (
            RemoteFiles(self.folder) if self.remote else LocalFiles(self.folder, local_path(where))
        )

    @property
    def root(self) -> Path:
        """The folder on this machine: the store itself, or the cache of a remote one."""
        return self._files.root

    def make(self) -> None:
        """Make the store and mark it, so that its absence can be told from its being away.

        Warn where its file system cannot keep two drivers apart.

        Raises:
            InputError: it cannot be written.

        """
        open_folder(self.where, make=True)
        if self.remote:
            require_writable(self.root)
        if not _creates_once(self.folder):
            logger.warning(
                f"{self.where}: its file system lets two processes create one file, so drivers "
                "cannot share work there: run one driver only on this store"
            )

    def path(self, stage: str, key: str) -> Path:
        """Return where a finished artifact lies on this machine, or would lie.

        Raises:
            ValueError: no artifact has these names.

        """
        if stage not in VERSIONS or not key.isalnum():
            raise ValueError(f"no such artifact: {stage}/{key}")
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Return whether an artifact is finished."""
        self.path(stage, key)
        return self.folder.joined(stage, key).has(MANIFEST)

    def finished(self, stage: str) -> set[str]:
        """Return the keys of every finished artifact of a stage, in one listing."""
        if stage not in VERSIONS:
            raise ValueError(f"no such stage: {stage}")
        return self._files.finished(stage)

    def seen(self) -> Callable[[str, str], bool]:
        """Return `has` as of now, for many keys: it lists a stage when first asked for it."""
        listed = functools.cache(self.finished)
        return lambda stage, key: key in listed(stage)

    def fetch(self, stage: str, key: str) -> Path:
        """Return the folder of a finished artifact on this machine, its files as they were.

        The first fetch in a process compares the checksum of every file. The first fetch of a
        remote artifact on a node copies it to the node's cache.

        Args:
            stage: the artifact's stage.
            key: the artifact's key.

        Raises:
            FileNotFoundError: it is not finished.
            CorruptArtifactError: it differs from its manifest; it is no longer in the store.

        """
        path = self.path(stage, key)
        if is_sound(path):
            return path
        problems, content = self._files.bring(path)
        if problems:
            self._files.quarantine(path, content)
            raise self._corrupt(stage, key, problems[0])
        return path

    def _corrupt(self, stage: str, key: str, problem: str) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{stage}/{key} in {self.where} is corrupt ({problem}); it was quarantined, "
            "and running again makes it anew"
        )

    @contextmanager
    def reading(self, stage: str, key: str) -> Iterator[Path]:
        """Fetch an artifact, and take an error while its files are read for what it is.

        The block does nothing but read the files. If they no longer agree with the manifest, or
        agree and cannot be understood, the artifact is corrupt.

        Args:
            stage: the artifact's stage.
            key: the artifact's key.

        Raises:
            FileNotFoundError: it is not finished.
            CorruptArtifactError: it is corrupt and no longer in the store.

        """
        path = self.fetch(stage, key)
        try:
            yield path
        except StorageError:
            raise
        except Exception as error:
            forget(path)
            self.fetch(stage, key)
            if not isinstance(error, _NOT_UNDERSTOOD):
                raise
            self.quarantine(stage, key)
            raise self._corrupt(stage, key, one_line(error, 200)) from error

    def problems(self, stage: str, key: str) -> list[str]:
        """Return how a finished artifact differs from its manifest; empty if it does not.

        Raises:
            FileNotFoundError: it is not finished.

        """
        return self._files.problems(self.path(stage, key))

    def quarantine(self, stage: str, key: str) -> None:
        """Take an artifact out of the store, so that it is made anew; its files are kept."""
        self._files.quarantine(self.path(stage, key))

    def corrupt(self, stage: str) -> set[str]:
        """Return the keys of which an artifact was quarantined, made anew since or not."""
        names = map(stage_and_key, self.folder.joined(QUARANTINE).folders())
        return {key for of_stage, key in names if of_stage == stage}

    def delete(self, stage: str, key: str) -> None:
        """Delete a finished artifact; if that is broken off, it is not finished any more."""
        self._files.delete(self.path(stage, key))

    def scratch(self, stage: str, key: str) -> Path:
        """Return a folder that outlives a crash, for the checkpoints of a stage being made."""
        path = self.path(stage, key)
        self._files.wait()
        return self._files.scratch(path)

    def keep_scratch(self, stage: str, key: str) -> None:
        """Let another node resume from the files in `scratch`: copy them to a remote store.

        Copying takes a tenth of a stage's time at most (`studies.store.files.KEEPING_SHARE`); a
        node that is lost costs the work done since the last copy.
        """
        self._files.keep_scratch(self.path(stage, key))

    @contextmanager
    def build(self, stage: str, key: str, about: Mapping[str, Any]) -> Iterator[Path]:
        """Yield an empty folder; when the block ends well, it becomes the artifact.

        Args:
            stage: the artifact's stage.
            key: the artifact's key.
            about: what the manifest says beside checksums, sizes and the process that made it.

        """
        path = self.path(stage, key)
        self._files.wait()
        try:
            with self._files.new_folder(path) as folder:
                yield folder
                self._files.publish(
                    folder,
                    path,
                    Manifest.of(folder, {**about, "made_by": made_by()}, name_of(path)),
                )
        except Exception as error:
            if error_number(error) in FULL:
                raise StorageError(f"{self.root}: no space left on the storage") from error
            raise
        self._files.drop_scratch(path)

    def manifest(self, stage: str, key: str) -> Manifest:
        """Return the manifest of a finished artifact.

        Raises:
            FileNotFoundError: it is not finished.
            ValueError: the file is no manifest.

        """
        self.path(stage, key)
        return Manifest.from_json(self.folder.joined(stage, key).read(MANIFEST))


def _creates_once(folder: Folder) -> bool:
    """Create a name twice; return whether the second attempt was refused, as leases rely on."""
    probe = f".written-{uuid.uuid4().hex[:12]}"
    try:
        return folder.create(probe, b"first") and not folder.create(probe, b"second")
    finally:
        folder.delete(probe)


def require_writable(folder: Path) -> None:
    """Make a folder and write to it; raise InputError that says why not."""
    probe = folder / f".writable-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"folder {folder} is not writable ({error.strerror}); expected one for results"
        ) from error
