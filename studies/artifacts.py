"""The artifact store: finished stages by key, each written aside and renamed whole.

    STORE/<stage>/<key>/            a finished artifact with its manifest.json
    STORE/unfinished/<stage>-<key>  what a running or broken-off stage needs to go on (checkpoints)

A reader sees an artifact whole or not at all. Two writers of one key make the same thing; the
first rename wins, the other's work is dropped.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studies.keys import VERSIONS
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError

MANIFEST = "manifest.json"


class ArtifactStore:
    """A folder of finished stages.

    Args:
        root: made if it is not there.

    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def path(self, stage: str, key: str) -> Path:
        """Where a finished artifact lies or would lie."""
        if stage not in VERSIONS or not key.isalnum():
            raise ValueError(f"no such artifact: {stage}/{key}")
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether the artifact is finished."""
        return (self.path(stage, key) / MANIFEST).is_file()

    def scratch(self, stage: str, key: str) -> Path:
        """A folder that outlives a crash, for the checkpoints of a stage being made."""
        folder = self.root / "unfinished" / f"{stage}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def build(self, stage: str, key: str, about: dict[str, Any]) -> Iterator[Path]:
        """Yield an empty folder; when the block ends well, it becomes the artifact.

        Args:
            stage: a name of `studies.keys.VERSIONS`.
            key: see `studies.keys.stage_key`.
            about: what is written to the manifest beside the checksums.

        """
        target = self.path(stage, key)
        folder = target.with_name(f".{key}-{uuid.uuid4().hex[:8]}")
        folder.mkdir(parents=True)
        try:
            yield folder
            self._commit(folder, target, about)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.root / "unfinished" / f"{stage}-{key}", ignore_errors=True)

    def _commit(self, folder: Path, target: Path, about: dict[str, Any]) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        manifest = {
            **about,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": dict(zip(names, file_hashes(files), strict=True)),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        for file in (*files, folder / MANIFEST):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        try:
            folder.rename(target)
        except OSError:
            if not self.has(target.parent.name, target.name):
                raise

    def manifest(self, stage: str, key: str) -> dict[str, Any]:
        """What was written about a finished artifact."""
        content: dict[str, Any] = json.loads((self.path(stage, key) / MANIFEST).read_text())
        return content


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
