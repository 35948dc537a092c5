"""Artifacts on this machine's file systems, shared ones included: renamed whole, read in place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from reports.storage.folder import Folder
from studies.store.layout import FILES, MANIFEST, QUARANTINED, SCRATCH, new_version
from studies.store.manifest import Manifest, differences


class LocalFiles:
    """The files of artifacts in folders of this machine.

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
            if name.isalnum() and (self.root / stage / name / MANIFEST).is_file()
        }

    @contextlib.contextmanager
    def new_folder(self, stage: str, key: str) -> Iterator[Path]:
        """Yield an empty folder; delete at the end of the block what was not renamed."""
        folder = self.root / FILES / new_version(stage, key)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, stage: str, key: str, manifest: Manifest) -> None:
        """Make an artifact of a folder, unless another builder has made it meanwhile."""
        (folder / MANIFEST).write_bytes(manifest.as_json())
        for name in (*manifest.sizes, MANIFEST):
            with (folder / name).open("rb") as opened:
                os.fsync(opened.fileno())
        self.install(folder, stage, key)

    def install(self, folder: Path, stage: str, key: str) -> None:
        """Rename a whole folder to the artifact's, unless a finished one is there."""
        path = self.root / stage / key
        path.parent.mkdir(exist_ok=True)
        try:
            folder.rename(path)
        except OSError:
            if not (path / MANIFEST).is_file():
                raise

    def fetch(self, stage: str, key: str, *, whole: bool) -> list[str]:
        """Bring an artifact to this machine; return how it differs from its manifest.

        One that differs is quarantined.

        Args:
            stage: the artifact's stage.
            key: the artifact's key.
            whole: compare the checksum of every file, not only the sizes.

        """
        path = self.root / stage / key
        self.wait()
        if not differences(path, whole=whole):
            return []
        self.wait()  # it may have gone away in between
        content = None
        with contextlib.suppress(OSError):  # `differences` says what is wrong with it
            content = (path / MANIFEST).read_bytes()
        if problems := differences(path, whole=whole):
            self.quarantine(stage, key, content)
        return problems

    def problems(self, stage: str, key: str) -> list[str]:
        """Return how an artifact of the store differs from its manifest, checksums included."""
        return differences(self.root / stage / key, whole=True)

    def quarantine(self, stage: str, key: str, content: bytes | None = None) -> None:
        """Take an artifact out of the store and keep its files.

        Args:
            stage: the artifact's stage.
            key: the artifact's key.
            content: of its manifest; an artifact with another one was made anew, and stays.

        """
        path, out = self.root / stage / key, self.root / QUARANTINED / new_version(stage, key)
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            if content is None or (path / MANIFEST).read_bytes() == content:
                out.parent.mkdir(exist_ok=True)
                path.rename(out)

    def delete(self, stage: str, key: str) -> None:
        """Delete an artifact; if that is broken off, it is not finished any more."""
        out = self.root / FILES / new_version(stage, key)
        out.parent.mkdir(exist_ok=True)
        (self.root / stage / key).rename(out)
        self.folder.joined(FILES, out.name).delete_all()

    def scratch(self, stage: str, key: str) -> Path:
        """Return the folder of a stage's checkpoints."""
        folder = self.root / SCRATCH / f"{stage}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def keep_scratch(self, stage: str, key: str) -> None:
        """Let other nodes resume from the checkpoints; a shared file system does so by itself."""

    def drop_scratch(self, stage: str, key: str) -> None:
        """Delete the checkpoints of a finished artifact."""
        shutil.rmtree(self.root / SCRATCH / f"{stage}-{key}", ignore_errors=True)
