"""The folder that an export writes: new, empty, or one that the same export wrote before."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsss_core.errors import InputError, as_input_error
from wsss_core.whole_files import write_whole

EXPORT_MARK = ".wsss-export"
"""A file in a folder that an export wrote; it names the tool, and what belongs to each study."""


class ExportFolder:
    """A folder of this machine that belongs to the exports to one tool.

    Args:
        path: the folder; made when the first file is written.
        tool: the tool that its files are for.

    Raises:
        InputError: it cannot be read, or holds files that no export to this tool wrote.

    """

    def __init__(self, path: Path, tool: str) -> None:
        self.path, self._tool = path, tool
        mark = path / EXPORT_MARK
        with as_input_error(f"{path}: the folder cannot be read", OSError):
            known = mark.read_bytes() if mark.exists() else b""
            foreign = not known and path.exists() and any(path.iterdir())
        if foreign:
            raise InputError(
                f"{path}: holds files that no export wrote; name a new or empty folder by --out"
            )
        written: dict[str, Any] = {"tool": tool, "studies": {}}
        if known:
            written = _written(path, known)
        if written["tool"] != tool:
            raise InputError(
                f"{path}: holds an export to {written['tool']}; name another folder by --out"
            )
        self._studies: dict[str, list[str]] = written["studies"]

    def make(self) -> None:
        """Make the folder, and mark it before anything is in it."""
        if not (self.path / EXPORT_MARK).exists():
            self._keep()

    def write(self, name: str, content: bytes) -> Path:
        """Write a file whole, at a path below the folder, and return it."""
        self.make()
        return self._put(name, content)

    def _put(self, name: str, content: bytes) -> Path:
        file = self.path / name
        with as_input_error(f"{file}: the export cannot be written there", OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, content)
        return file

    def replace(self, study: str, names: Iterable[str]) -> None:
        """Note what a study now has in the folder; remove what it had and has no more.

        Args:
            study: its name.
            names: folders or files below the folder.

        """
        before, now = self._studies.get(study, []), list(names)
        others = {name for of, kept in self._studies.items() if of != study for name in kept}
        with as_input_error(f"{self.path}: the old export cannot be removed", OSError):
            for name in sorted(set(before) - set(now) - others):
                self._remove(name)
        self._studies[study] = now
        self._keep()

    @property
    def studies(self) -> set[str]:
        """The studies of which the folder holds something."""
        return set(self._studies)

    def _remove(self, name: str) -> None:
        path = self.path / name
        # A mark that was edited must not lead out of the folder.
        if self.path.resolve() not in path.resolve().parents:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _keep(self) -> None:
        written = {"tool": self._tool, "studies": self._studies}
        self._put(EXPORT_MARK, json.dumps(written, ensure_ascii=False, indent=1).encode())


def _written(path: Path, content: bytes) -> dict[str, Any]:
    said = f"{path / EXPORT_MARK}: not as an export wrote it; remove the folder, or name another"
    with as_input_error(said, ValueError):
        found = json.loads(content)
    studies = found.get("studies") if isinstance(found, dict) else None
    lists = studies.values() if isinstance(studies, dict) else [None]
    if not all(
        isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists
    ):
        raise InputError(said)
    return {"tool": str(found.get("tool")), "studies": studies}
