"""The artifact store: finished stages by key, each made aside and put in place whole.

On this machine's file systems, shared ones included:

    STORE/<stage>/<key>/            a finished artifact with its manifest.json
    STORE/unfinished/<stage>-<key>  what a running or broken-off stage needs to go on (checkpoints)
    STORE/leases/                   who is making what (`studies.store.leases`)
    STORE/damaged/                  artifacts that were found to differ from their manifests

On another file system (``s3://bucket/prefix``) the manifest is ``STORE/<stage>/<key>.json``; it is
written last and names the folder of its files. Each node keeps what it has read or made in a cache.

A reader sees an artifact whole or not at all. Two writers of one key make the same thing; the
first to end stays, the other's work is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reports.storage.errors import FULL, StorageError
from reports.storage.folder import Folder
from reports.storage.locations import Location, is_uri, local_path
from reports.storage.opening import open_folder
from studies.store.keys import VERSIONS
from studies.store.leases import Leases
from studies.store.manifest import MANIFEST, as_json, differences, manifest_of, read_manifest
from studies.store.remote import KeptScratch, beside, download, one_download, take_out, upload
from wsss_core.errors import InputError

UNFINISHED = "unfinished"
DAMAGED = "damaged"
CACHE = "WSSS_CACHE"
"""Environment variable: where a node keeps artifacts of remote stores [~/.cache/wsss]."""

KEEPING_SHARE = 0.1
"""Of a stage's time, so much may go into copying its checkpoints to a remote store."""


class CorruptArtifactError(StorageError):
    """An artifact differs from its manifest; it was set aside, and running again makes it anew."""


class ArtifactStore:
    """Finished stages by key, in a folder of this machine or at a URI.

    Args:
        where: a path or a URI. It is made by `make`, or by the first artifact.
        expect: it was made before: wait for it if its file system is away (a worker).

    """

    def __init__(self, where: Location, *, expect: bool = False) -> None:
        self.remote = is_uri(where)
        self.folder: Folder = open_folder(where, expect=expect)
        self.where = self.folder.where
        self.leases = Leases(self.folder)
        if self.remote:
            name = hashlib.blake2b(self.where.encode(), digest_size=8).hexdigest()
            cache = Path(os.environ.get(CACHE, "~/.cache/wsss")).expanduser().absolute()
            self._local = cache / name
        else:
            self._local = local_path(where)
        self._keeps_again: dict[tuple[str, str], float] = {}

    @property
    def root(self) -> Path:
        """The folder on this machine: the store itself, or the cache of a remote one."""
        return self._local

    def make(self) -> None:
        """Make the store and mark it, so that its absence can be told from its being away.

        Raises:
            InputError: it cannot be written.

        """
        open_folder(self.where, make=True)
        if self.remote:
            require_writable(self._local)

    def path(self, stage: str, key: str) -> Path:
        """Where a finished artifact lies on this machine or would lie."""
        if stage not in VERSIONS or not key.isalnum():
            raise ValueError(f"no such artifact: {stage}/{key}")
        return self._local / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artifact is finished."""
        path = self.path(stage, key)
        if not self.remote:
            return (path / MANIFEST).is_file() or self.folder.joined(stage, key).has(MANIFEST)
        return self.folder.joined(stage).has(f"{key}.json")

    def finished(self, stage: str) -> set[str]:
        """The keys of every finished artifact of a stage, in one listing."""
        if stage not in VERSIONS:
            raise ValueError(f"no such stage: {stage}")
        folder = self.folder.joined(stage)
        if self.remote:
            return {n.removesuffix(".json") for n in folder.listing() if n.endswith(".json")}
        return {
            name
            for name in folder.folders()
            if name.isalnum() and (self._local / stage / name / MANIFEST).is_file()
        }

    def seen(self) -> Callable[[str, str], bool]:
        """`has` as of now, for many keys: a stage is listed when it is first asked for."""
        listed: dict[str, set[str]] = {}

        def has(stage: str, key: str) -> bool:
            if stage not in listed:
                listed[stage] = self.finished(stage)
            return key in listed[stage]

        return has

    def fetch(self, stage: str, key: str, *, whole: bool = False) -> Path:
        """The folder of a finished artifact on this machine, its files as long as they should be.

        A remote artifact is copied to this node's cache once, and its checksums compared.

        Args:
            stage: a name of `studies.store.keys.VERSIONS`.
            key: see `studies.store.keys.stage_key`.
            whole: compare the checksum of every file as well.

        Raises:
            FileNotFoundError: it is not finished.
            CorruptArtifactError: it differs from its manifest; it is no longer in the store.

        """
        path = self.path(stage, key)
        if self.remote:
            return self._cached(stage, key, path, whole)
        self._await()
        if problems := differences(path, whole=whole):
            self._await()  # it may have gone away in between
            problems = differences(path, whole=whole)
        if problems:
            self.set_aside(stage, key)
            raise self._damaged(stage, key, problems)
        return path

    def _await(self) -> None:
        """Wait until the file system is there; a remote one is waited for when it is asked."""
        if not self.remote:
            self.folder.has(MANIFEST)

    def _damaged(self, stage: str, key: str, problems: list[str]) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{stage}/{key} in {self.where} is damaged ({problems[0]}); it was set aside, and "
            "running again makes it anew"
        )

    def _cached(self, stage: str, key: str, path: Path, whole: bool) -> Path:
        if _sound(path, whole):
            return path
        with one_download(path):
            if _sound(path, whole):
                return path  # another process of this node has brought it
            shutil.rmtree(path, ignore_errors=True)
            with beside(path) as folder:
                if problems := download(self.folder, stage, key, folder):
                    content = (folder / MANIFEST).read_bytes()
                    take_out(self.folder, stage, key, content, self.folder.joined(DAMAGED))
                    raise self._damaged(stage, key, problems)
                folder.rename(path)
        return path

    def problems(self, stage: str, key: str) -> list[str]:
        """How a finished artifact of the store differs from its manifest; empty if it does not.

        Raises:
            FileNotFoundError: it is not finished.

        """
        path = self.path(stage, key)
        if not self.remote:
            return differences(path, whole=True)
        with beside(path) as folder:
            return download(self.folder, stage, key, folder)

    def set_aside(self, stage: str, key: str) -> None:
        """Take an artifact out of the store, so that it is made anew; its files are kept."""
        path = self.path(stage, key)
        if self.remote:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                content = self.folder.joined(stage).read(f"{key}.json")
                take_out(self.folder, stage, key, content, self.folder.joined(DAMAGED))
            return
        aside = self._local / DAMAGED / f"{stage}-{key}-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another has done so
            path.rename(aside)

    def damaged(self, stage: str) -> set[str]:
        """The keys of a stage of which something was set aside, made anew since or not."""
        aside = self.folder.joined(DAMAGED)
        parts = [name.split("-") for name in (aside.listing() if self.remote else aside.folders())]
        return {part[1] for part in parts if len(part) > 2 and part[0] == stage}

    def scratch(self, stage: str, key: str) -> Path:
        """A folder that outlives a crash, for the checkpoints of a stage being made."""
        self.path(stage, key)
        self._await()
        folder = self._scratch(stage, key)
        folder.mkdir(parents=True, exist_ok=True)
        if self.remote:
            self._kept(stage, key).bring()
            self._keeps_again.setdefault((stage, key), 0.0)
        return folder

    def keep_scratch(self, stage: str, key: str) -> None:
        """Let another node go on from the files in `scratch`: copy them to a remote store.

        It does so as often as `KEEPING_SHARE` allows; a node that is lost costs what came after.
        """
        began = time.monotonic()
        if self.remote and began >= self._keeps_again.get((stage, key), 0.0):
            self._kept(stage, key).keep()
            took = time.monotonic() - began
            self._keeps_again[stage, key] = began + took / KEEPING_SHARE

    def _scratch(self, stage: str, key: str) -> Path:
        return self._local / UNFINISHED / f"{stage}-{key}"

    def _kept(self, stage: str, key: str) -> KeptScratch:
        kept = self.folder.joined(UNFINISHED, f"{stage}-{key}")
        return KeptScratch(kept, self._scratch(stage, key))

    @contextmanager
    def build(self, stage: str, key: str, about: dict[str, Any]) -> Iterator[Path]:
        """Yield an empty folder; when the block ends well, it becomes the artifact.

        Args:
            stage: a name of `studies.store.keys.VERSIONS`.
            key: see `studies.store.keys.stage_key`.
            about: what is written to the manifest beside checksums and sizes.

        """
        target = self.path(stage, key)
        self._await()
        try:
            with beside(target) as folder:
                yield folder
                self._commit(folder, stage, key, about)
        except OSError as error:
            if error.errno in FULL:
                raise StorageError(f"{self._local}: no space left on the storage") from error
            raise
        shutil.rmtree(self._scratch(stage, key), ignore_errors=True)
        if self._keeps_again.pop((stage, key), None) is not None:
            self.folder.joined(UNFINISHED, f"{stage}-{key}").delete_all()

    def _commit(self, folder: Path, stage: str, key: str, about: dict[str, Any]) -> None:
        manifest = manifest_of(folder, about)
        path = self.path(stage, key)
        if self.remote:
            if upload(self.folder, stage, key, folder, manifest):
                shutil.rmtree(path, ignore_errors=True)  # one that was set aside
                with contextlib.suppress(OSError):  # brought meanwhile by another process
                    folder.rename(path)
            return
        (folder / MANIFEST).write_bytes(as_json(manifest))
        for name in (*manifest["files"], MANIFEST):
            with (folder / name).open("rb") as opened:
                os.fsync(opened.fileno())
        try:
            folder.rename(path)
        except OSError:
            if not (path / MANIFEST).is_file():
                raise

    def manifest(self, stage: str, key: str) -> dict[str, Any]:
        """What was written about a finished artifact.

        Raises:
            FileNotFoundError: it is not finished.
            ValueError: what is there is no manifest.

        """
        if self.remote:
            return read_manifest(self.folder.joined(stage).read(f"{key}.json"))
        return read_manifest(self.folder.joined(stage, key).read(MANIFEST))

    def manifests(self, stage: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """The manifests of a stage by key, in order; None for one that cannot be read."""
        if stage not in VERSIONS:
            raise ValueError(f"no such stage: {stage}")
        keys = sorted(self.finished(stage))
        contents: Iterator[bytes]
        if self.remote:
            contents = self.folder.joined(stage).read_many([f"{key}.json" for key in keys])
        else:
            contents = ((self._local / stage / key / MANIFEST).read_bytes() for key in keys)
        for key, content in zip(keys, contents, strict=True):
            try:
                yield key, read_manifest(content)
            except ValueError:
                yield key, None


def _sound(path: Path, whole: bool) -> bool:
    """Whether a cached artifact is there and as its manifest says."""
    try:
        return not differences(path, whole=whole)
    except FileNotFoundError:
        return False


def require_writable(folder: Path) -> None:
    """Make a folder and write to it, or raise InputError that says why not."""
    probe = folder / f".writable-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"folder {folder} is not writable ({error.strerror}); expected one for results"
        ) from error
