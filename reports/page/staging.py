"""Files of a folder that appear together: written aside as they are made, named at the end."""

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from wsss_core.errors import as_input_error
from wsss_core.whole_files import sync_folder


class StagedFiles:
    """Writes files to a hidden folder, and moves them to their places when its block ends well.

    Args:
        folder: where they belong; made if it does not exist.
        complaint: what an error says of the folder if it cannot be written.

    """

    def __init__(self, folder: Path, complaint: str) -> None:
        self._folder, self._complaint = folder, f"{folder}: {complaint}"
        self._aside = folder / f".{uuid.uuid4().hex}.tmp"
        self._names: list[str] = []

    def __enter__(self) -> "StagedFiles":
        with as_input_error(self._complaint, OSError):
            self._aside.mkdir(parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with as_input_error(self._complaint, OSError):
                    self._move()
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _move(self) -> None:
        folders = {self._folder}
        for name in self._names:
            place = self._folder / name
            if place.parent not in folders:
                place.parent.mkdir(parents=True, exist_ok=True)
                folders.add(place.parent)
            os.replace(self._aside / name, place)
        for folder in folders:
            sync_folder(folder)

    def write(self, name: str, blocks: Iterable[str | bytes]) -> Path:
        """Write a file through to the disk; return the place that it will have.

        Args:
            name: its path in the folder.
            blocks: its content.

        """
        with as_input_error(self._complaint, OSError):
            file = self._aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            opened = file.open("wb")
        with opened:
            for block in blocks:
                content = block if isinstance(block, bytes) else block.encode()
                with as_input_error(self._complaint, OSError):
                    opened.write(content)
            with as_input_error(self._complaint, OSError):
                opened.flush()
                os.fsync(opened.fileno())
        self._names.append(name)
        return self._folder / name

    def below(self, folder: str) -> tuple[Path, ...]:
        """Return the places of the files below a folder, in order."""
        return tuple(
            self._folder / name for name in sorted(self._names) if name.startswith(f"{folder}/")
        )
