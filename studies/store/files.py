"""The files of artifacts, on this machine's file systems and on others.

A local file system, a shared one included, renames the folder of a build whole, and artifacts are
read where they lie. To any other, the files are uploaded; the manifest is written last, and of two
builders of a key the one that creates it has made the artifact. A cache on each node, laid out as a
local store, holds what the node has made or read.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reports.storage import Folder, LocalFolder
from studies.store.layout import BUILDS, MANIFEST, QUARANTINE, SCRATCH, new_version, side_name
from studies.store.manifest import Manifest, differences, is_sound, name_of
from wsss_core.errors import InputError, as_input_error, checked_path
from wsss_core.whole_files import sync_folder

CACHE = "WSSS_CACHE"
"""Environment variable: where a node keeps artifacts of remote stores [~/.cache/wsss]."""

KEEPING_SHARE = 0.1
"""The share of a stage's time that may go into copying its checkpoints to a remote store."""

_KEPT = ".kept.json"
"""The file in a node's scratch that says which versions of the store's files it has seen."""


class LocalFiles:
    """The files of artifacts; an artifact's path on this machine names it.

    Args:
        folder: the store.
        root: where its files lie on this machine.

    """

    def __init__(self, folder: Folder, root: Path) -> None:
        self.folder, self.root = folder, root

    def wait(self) -> None:
        """Wait until the file system is there."""
        self.folder.has(MANIFEST)

    def finished(self, stage: str) -> set[str]:
        """Return the keys of a stage's finished artifacts."""
        return {
            name
            for name in self.folder.joined(stage).folders()
            if name.isalnum() and os.path.isfile(f"{self.root}/{stage}/{name}/{MANIFEST}")
        }

    @contextlib.contextmanager
    def new_folder(self, path: Path) -> Iterator[Path]:
        """Yield an empty folder; delete at the end of the block what was not renamed."""
        folder = self.root / BUILDS / new_version(path)
        LocalFolder.opened(folder).ensure(synced=False)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, path: Path, manifest: Manifest) -> None:
        """Make an artifact of a folder, unless another builder has made it meanwhile."""
        (folder / MANIFEST).write_bytes(manifest.as_json())
        for name in (*manifest.sizes, MANIFEST):
            with (folder / name).open("rb") as opened:
                os.fsync(opened.fileno())
        self.install(folder, path)

    def install(self, folder: Path, path: Path) -> None:
        """Rename a whole folder to an artifact's, unless a finished one is there.

        What has lost its manifest is no artifact; its files are moved to those in quarantine.
        """
        path.parent.mkdir(exist_ok=True)
        sync_folder(folder)
        try:
            folder.rename(path)
        except OSError:
            if (path / MANIFEST).is_file():
                return
            LocalFiles.quarantine(self, path)
            folder.rename(path)
        sync_folder(path.parent)

    def bring(self, path: Path) -> tuple[list[str], bytes | None]:
        """Bring an artifact that is not sound on this machine, if it is in the store.

        Returns:
            How it differs from its manifest, and that manifest's content if it can be read.

        """
        self.wait()  # it may have been away
        content = None
        with contextlib.suppress(OSError):
            content = (path / MANIFEST).read_bytes()
        return differences(path, name_of(path)), content

    def problems(self, path: Path) -> list[str]:
        """Return how an artifact of the store differs from its manifest, checksums included."""
        return differences(path, name_of(path))

    def quarantine(self, path: Path, content: bytes | None = None) -> None:
        """Take an artifact out of the store and keep its files.

        Args:
            path: the artifact.
            content: of its manifest; an artifact with another one was made anew, and stays.

        """
        out = self.root / QUARANTINE / new_version(path)
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            if content is None or (path / MANIFEST).read_bytes() == content:
                out.parent.mkdir(exist_ok=True)
                path.rename(out)

    def delete(self, path: Path) -> None:
        """Delete an artifact; if that is broken off, it is not finished any more."""
        out = self.root / BUILDS / new_version(path)
        out.parent.mkdir(exist_ok=True)
        path.rename(out)
        self.folder.joined(BUILDS, out.name).delete_all()

    def scratch(self, path: Path) -> Path:
        """Return the folder of the checkpoints of an artifact that is being made."""
        folder = self.root / SCRATCH / side_name(path)
        LocalFolder.opened(folder).ensure(synced=False)
        return folder

    def keep_scratch(self, path: Path) -> None:
        """Let other nodes resume from the checkpoints; a shared file system does so by itself."""

    def drop_scratch(self, path: Path) -> None:
        """Delete the checkpoints of a finished artifact."""
        shutil.rmtree(self.root / SCRATCH / side_name(path), ignore_errors=True)


def cache_folder() -> Path:
    """Return where this machine keeps what it can make or fetch again.

    Raises:
        InputError: the environment variable names no folder.

    """
    with as_input_error(CACHE, InputError):
        return checked_path(os.environ.get(CACHE, "~/.cache/wsss"))


class RemoteFiles(LocalFiles):
    """The files of artifacts at a URI, with a cache of them on this machine.

    Args:
        folder: the store.

    """

    def __init__(self, folder: Folder) -> None:
        name = hashlib.blake2b(folder.where.encode(), digest_size=8).hexdigest()
        cache = cache_folder()
        super().__init__(folder, cache / name)
        self._keep_again: dict[Path, float] = {}

    def _place(self, path: Path) -> Folder:
        return self.folder.joined(path.parent.name, path.name)

    def wait(self) -> None:
        """Return at once: each request waits for the storage itself."""

    def finished(self, stage: str) -> set[str]:
        """Return the keys of a stage's finished artifacts."""
        manifests = self.folder.joined(stage).tree()
        return {name.partition("/")[0] for name in manifests if name.endswith(f"/{MANIFEST}")}

    def publish(self, folder: Path, path: Path, manifest: Manifest) -> None:
        """Upload an artifact and create its manifest, unless another builder has done so."""
        files = self.folder.joined(BUILDS, folder.name)
        for name in manifest.sizes:
            *parents, last = name.split("/")
            files.joined(*parents).put(folder / name, last)
        content = replace(manifest, folder=folder.name).as_json()
        if not self._place(path).create(MANIFEST, content):
            files.delete_all()
            return
        (folder / MANIFEST).write_bytes(content)
        shutil.rmtree(path, ignore_errors=True)  # one that was quarantined
        with contextlib.suppress(OSError):  # another process brings the artifact meanwhile
            self.install(folder, path)

    def bring(self, path: Path) -> tuple[list[str], bytes | None]:
        """Copy an artifact to the cache and compare its checksums, see `LocalFiles.bring`."""
        with _one_at_a_time(self.root / BUILDS / f".{side_name(path)}.lock"):
            if is_sound(path):
                return [], None  # another process of this node has brought it
            shutil.rmtree(path, ignore_errors=True)
            with self.new_folder(path) as folder:
                problems = self._download(path, folder)
                if not problems:
                    self.install(folder, path)
                    return [], None
                return problems, (folder / MANIFEST).read_bytes()

    def problems(self, path: Path) -> list[str]:
        """Return how an artifact of the store, not of the cache, differs from its manifest."""
        with self.new_folder(path) as folder:
            return self._download(path, folder)

    def _download(self, path: Path, to: Path) -> list[str]:
        """Copy an artifact to an empty folder; return how the copy differs from its manifest."""
        content = self._place(path).read(MANIFEST)
        (to / MANIFEST).write_bytes(content)
        try:
            manifest = Manifest.from_json(content)
            files = self.folder.joined(BUILDS, manifest.folder)
        except ValueError as error:
            return [f"{MANIFEST}: {error}"]
        for name in manifest.sizes:
            *parents, last = name.split("/")
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # `differences` names it
                files.joined(*parents).get(last, to / name)
        return differences(to, name_of(path))

    def quarantine(self, path: Path, content: bytes | None = None) -> None:
        """Take an artifact's manifest out of the store and keep it; its files stay for a while."""
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            found = self._place(path).read(MANIFEST)
            if content in (None, found):
                self.folder.joined(QUARANTINE, new_version(path)).write(MANIFEST, found)
                self._place(path).delete(MANIFEST)

    def delete(self, path: Path) -> None:
        """Delete an artifact's manifest, then its files."""
        content = self._place(path).read(MANIFEST)
        self._place(path).delete(MANIFEST)
        try:
            files = self.folder.joined(BUILDS, Manifest.from_json(content).folder)
        except ValueError:
            return  # no manifest names its files any more, so they are garbage
        files.delete_all()

    def scratch(self, path: Path) -> Path:
        """Return the folder of the checkpoints, with those that another node kept since.

        The checkpoints that this node kept last may be older than its own, which stay.
        """
        here, kept = super().scratch(path), self._kept(path)
        try:
            seen: dict[str, str] = json.loads((here / _KEPT).read_bytes())
        except (FileNotFoundError, ValueError):
            seen = {}
        for name, entry in kept.listing().items():
            if seen.get(name) != entry.changed or not (here / name).is_file():
                unfinished = here / f".{name}.{uuid.uuid4().hex[:8]}"
                kept.get(name, unfinished)
                unfinished.replace(here / name)
                seen[name] = entry.changed
        (here / _KEPT).write_text(json.dumps(seen))
        self._keep_again.setdefault(path, 0.0)
        return here

    def keep_scratch(self, path: Path) -> None:
        """Copy the checkpoints to the store, as often as `KEEPING_SHARE` allows."""
        began = time.monotonic()
        if began < self._keep_again.get(path, 0.0):
            return
        here, kept = super().scratch(path), self._kept(path)
        for file in sorted(here.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                kept.put(file, file.name)
        seen = {name: entry.changed for name, entry in kept.listing().items()}
        (here / _KEPT).write_text(json.dumps(seen))
        self._keep_again[path] = began + (time.monotonic() - began) / KEEPING_SHARE

    def drop_scratch(self, path: Path) -> None:
        """Delete the checkpoints of a finished artifact, here and on the store."""
        super().drop_scratch(path)
        if self._keep_again.pop(path, None) is not None:
            self._kept(path).delete_all()

    def _kept(self, path: Path) -> Folder:
        return self.folder.joined(SCRATCH, side_name(path))


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process of this machine in while others wait for it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("wb") as opened:
        with contextlib.suppress(OSError):  # a file system without locks: each copies for itself
            fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
