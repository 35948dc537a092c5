"""Artifacts on other file systems: uploaded, named by a manifest written last, read from a cache.

Two builders of a key upload to folders of their own; the one that creates the manifest has made the
artifact.
"""

from __future__ import annotations

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

from reports.storage.folder import Folder
from studies.store.layout import FILES, MANIFEST, QUARANTINED, SCRATCH, new_version
from studies.store.local import LocalFiles
from studies.store.manifest import Manifest, differences

CACHE = "WSSS_CACHE"
"""Environment variable: where a node keeps artifacts of remote stores [~/.cache/wsss]."""

KEEPING_SHARE = 0.1
"""The share of a stage's time that may go into copying its checkpoints to a remote store."""

_KEPT = ".kept.json"
"""The file in a node's scratch that says which versions of the store's files it has seen."""


class RemoteFiles(LocalFiles):
    """The files of artifacts at a URI, with a cache of them on this machine.

    Args:
        folder: the store.

    """

    def __init__(self, folder: Folder) -> None:
        name = hashlib.blake2b(folder.where.encode(), digest_size=8).hexdigest()
        cache = Path(os.environ.get(CACHE, "~/.cache/wsss")).expanduser().absolute()
        super().__init__(folder, cache / name)
        self._keep_again: dict[tuple[str, str], float] = {}

    def wait(self) -> None:
        """Return at once: each request waits for the storage itself."""

    def finished(self, stage: str) -> set[str]:
        """Return the keys of a stage's finished artifacts."""
        manifests = self.folder.joined(stage).tree()
        return {path.partition("/")[0] for path in manifests if path.endswith(f"/{MANIFEST}")}

    def publish(self, folder: Path, stage: str, key: str, manifest: Manifest) -> None:
        """Upload an artifact and create its manifest, unless another builder has done so."""
        place = self.folder.joined(FILES, folder.name)
        for name in manifest.sizes:
            *parents, last = name.split("/")
            place.joined(*parents).put(folder / name, last)
        content = replace(manifest, folder=folder.name).as_json()
        if not self.folder.joined(stage, key).create(MANIFEST, content):
            place.delete_all()
            return
        (folder / MANIFEST).write_bytes(content)
        shutil.rmtree(self.root / stage / key, ignore_errors=True)  # one that was quarantined
        with contextlib.suppress(OSError):  # another process fetches the artifact meanwhile
            self.install(folder, stage, key)

    def fetch(self, stage: str, key: str, *, whole: bool) -> list[str]:
        """Bring an artifact to the cache; return how it differs from its manifest."""
        path = self.root / stage / key
        if _is_sound(path, whole):
            return []
        with _one_at_a_time(self.root / FILES / f".{stage}-{key}.lock"):
            if _is_sound(path, whole):
                return []  # another process of this node has fetched it
            shutil.rmtree(path, ignore_errors=True)
            with self.new_folder(stage, key) as folder:
                if problems := self._download(stage, key, folder):
                    self.quarantine(stage, key, (folder / MANIFEST).read_bytes())
                    return problems
                self.install(folder, stage, key)
        return []

    def problems(self, stage: str, key: str) -> list[str]:
        """Return how an artifact of the store, not of the cache, differs from its manifest."""
        with self.new_folder(stage, key) as folder:
            return self._download(stage, key, folder)

    def _download(self, stage: str, key: str, to: Path) -> list[str]:
        """Copy an artifact to an empty folder; return how the copy differs from its manifest."""
        content = self.folder.joined(stage, key).read(MANIFEST)
        (to / MANIFEST).write_bytes(content)
        try:
            manifest = Manifest.from_json(content)
            place = self.folder.joined(FILES, manifest.folder)
        except ValueError as error:
            return [f"{MANIFEST}: {error}"]
        for name in manifest.sizes:
            *parents, last = name.split("/")
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # `differences` names it
                place.joined(*parents).get(last, to / name)
        return differences(to, whole=True)

    def quarantine(self, stage: str, key: str, content: bytes | None = None) -> None:
        """Take an artifact's manifest out of the store and keep it; its files stay for a while."""
        shutil.rmtree(self.root / stage / key, ignore_errors=True)
        place = self.folder.joined(stage, key)
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            found = place.read(MANIFEST)
            if content is None or found == content:
                out = self.folder.joined(QUARANTINED, new_version(stage, key))
                out.write(MANIFEST, found)
                place.delete(MANIFEST)

    def delete(self, stage: str, key: str) -> None:
        """Delete an artifact's manifest, then its files."""
        place = self.folder.joined(stage, key)
        content = place.read(MANIFEST)
        place.delete(MANIFEST)
        try:
            files = self.folder.joined(FILES, Manifest.from_json(content).folder)
        except ValueError:
            return  # no manifest names its files any more, so they are garbage
        files.delete_all()

    def scratch(self, stage: str, key: str) -> Path:
        """Return the folder of a stage's checkpoints, with those that another node kept since.

        The checkpoints that this node kept last may be older than its own, which stay.
        """
        here, kept = super().scratch(stage, key), self._kept(stage, key)
        try:
            seen: dict[str, str] = json.loads((here / _KEPT).read_bytes())
        except (FileNotFoundError, ValueError):
            seen = {}
        listing = kept.listing()
        for name, entry in listing.items():
            if seen.get(name) != entry.changed or not (here / name).is_file():
                unfinished = here / f".{name}.{uuid.uuid4().hex[:8]}"
                kept.get(name, unfinished)
                unfinished.replace(here / name)
        (here / _KEPT).write_text(json.dumps({n: entry.changed for n, entry in listing.items()}))
        self._keep_again.setdefault((stage, key), 0.0)
        return here

    def keep_scratch(self, stage: str, key: str) -> None:
        """Copy the checkpoints to the store, as often as `KEEPING_SHARE` allows."""
        began = time.monotonic()
        if began < self._keep_again.get((stage, key), 0.0):
            return
        here, kept = super().scratch(stage, key), self._kept(stage, key)
        for file in sorted(here.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                kept.put(file, file.name)
        changed = {name: entry.changed for name, entry in kept.listing().items()}
        (here / _KEPT).write_text(json.dumps(changed))
        self._keep_again[stage, key] = began + (time.monotonic() - began) / KEEPING_SHARE

    def drop_scratch(self, stage: str, key: str) -> None:
        """Delete the checkpoints of a finished artifact, here and on the store."""
        super().drop_scratch(stage, key)
        if self._keep_again.pop((stage, key), None) is not None:
            self._kept(stage, key).delete_all()

    def _kept(self, stage: str, key: str) -> Folder:
        return self.folder.joined(SCRATCH, f"{stage}-{key}")


def _is_sound(path: Path, whole: bool) -> bool:
    """Return whether a cached artifact is there and as its manifest says."""
    try:
        return not differences(path, whole=whole)
    except FileNotFoundError:
        return False


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
