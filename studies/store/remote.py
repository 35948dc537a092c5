"""Artifacts on another file system: a folder of files, and a manifest that is written last.

    STORE/<stage>/<key>.json             the manifest; its "folder" names the version that counts
    STORE/<stage>/<key>/<version>/...    the files

Object stores rename nothing. Two builders upload to folders of their own, and the one that creates
the manifest has made the artifact.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reports.storage.folder import Folder
from studies.store.manifest import MANIFEST, as_json, differences, read_manifest


def upload(store: Folder, stage: str, key: str, folder: Path, manifest: dict[str, Any]) -> bool:
    """Copy an artifact to a store; whether it has become the one that counts.

    Args:
        store: its folder.
        stage: see `studies.store.artifacts.ArtifactStore`.
        key: likewise.
        folder: the files; its manifest is written here too.
        manifest: what they are.

    """
    version = uuid.uuid4().hex
    place = store.joined(stage, key, version)
    for name in manifest["files"]:
        *parents, last = name.split("/")
        place.joined(*parents).put(folder / name, last)
    content = as_json({**manifest, "folder": version})
    if not store.joined(stage).create(f"{key}.json", content):
        place.delete_all()
        return False
    (folder / MANIFEST).write_bytes(content)
    return True


def download(store: Folder, stage: str, key: str, to: Path) -> list[str]:
    """Copy a finished artifact to a folder that is there and empty, and compare its checksums.

    Returns:
        How it differs from its manifest; empty if it does not.

    Raises:
        FileNotFoundError: it is not finished.

    """
    content = store.joined(stage).read(f"{key}.json")
    (to / MANIFEST).write_bytes(content)
    try:
        manifest = read_manifest(content)
        place = store.joined(stage, key, str(manifest.get("folder")))
    except ValueError as error:
        return [f"{key}.json: {error}"]
    for name in manifest["files"]:
        *parents, last = name.split("/")
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # `differences` names it
            place.joined(*parents).get(last, to / name)
    return differences(to, whole=True)


def take_out(store: Folder, stage: str, key: str, content: bytes, aside: Folder) -> bool:
    """Take an artifact out of the store, so that it is made anew; its manifest is kept aside.

    Args:
        store: its folder.
        stage: see `studies.store.artifacts.ArtifactStore`.
        key: likewise.
        content: of the manifest; another, of an artifact made meanwhile, stays.
        aside: where it goes.

    Returns:
        Whether it was there.

    """
    manifests = store.joined(stage)
    try:
        if manifests.read(f"{key}.json") != content:
            return False
    except FileNotFoundError:
        return False
    aside.write(f"{stage}-{key}-{uuid.uuid4().hex[:8]}.json", content)
    manifests.delete(f"{key}.json")
    return True


@contextlib.contextmanager
def one_download(path: Path) -> Iterator[None]:
    """Let one process of this machine copy an artifact while others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("wb") as opened:
        with contextlib.suppress(OSError):  # a file system without locks: each copies for itself
            fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty folder, to be filled and renamed to `path`; it does not outlive the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class KeptScratch:
    """The unfinished work of a stage, in a folder of this node and on the store.

    Args:
        kept: the store's folder of it.
        folder: this node's.

    """

    SEEN = ".kept.json"

    def __init__(self, kept: Folder, folder: Path) -> None:
        self._kept, self._folder = kept, folder

    def bring(self) -> None:
        """Copy here what another node has kept since; what this node kept last may have gone on."""
        seen = self._seen()
        listing = self._kept.listing()
        for name, entry in listing.items():
            if seen.get(name) != entry.changed or not (self._folder / name).is_file():
                unfinished = self._folder / f".{name}.{uuid.uuid4().hex[:8]}"
                self._kept.get(name, unfinished)
                unfinished.replace(self._folder / name)
        self._see({name: entry.changed for name, entry in listing.items()})

    def keep(self) -> None:
        """Copy all files to the store."""
        for file in sorted(self._folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                self._kept.put(file, file.name)
        self._see({name: entry.changed for name, entry in self._kept.listing().items()})

    def _seen(self) -> dict[str, str]:
        try:
            seen: dict[str, str] = json.loads((self._folder / self.SEEN).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return seen

    def _see(self, seen: dict[str, str]) -> None:
        (self._folder / self.SEEN).write_text(json.dumps(seen))
