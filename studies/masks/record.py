"""The file beside the masks of a folder: the settings of all of them, and a digest of its own."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studies.masks.completed import MaskCounts
from studies.masks.files import voc_palette
from studies.masks.worker import MaskJob
from studies.stages import package_version
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError
from wsss_core.whole_files import ZEROS, fill_digest, holds_digest, write_whole

RECORD = "masks.json"
_DIGEST = b'"digest": "'
# Settings that masks of most images do without.
_OPTIONAL = ("orientation", "white_level", "framing")
_KEYS = ("settings", "values", "counts", "failed", "package_version", "started_at", "ended_at")


class MaskRecord:
    """The file with the settings of all masks of a folder.

    Attributes:
        earlier: whether a release without digests wrote it, whose masks hold none either.
        corrupt: whether it was not as it was written; `write` writes it again.

    """

    def __init__(self, job: MaskJob) -> None:
        self.file = Path(job.out) / RECORD
        self.earlier = self.corrupt = False
        self._settings = {**job.settings, "images": str(Path(job.images).resolve())}
        palette = voc_palette()
        named = {0: "background", **dict(enumerate(job.recipe.classes, 1)), IGNORED: "uncertain"}
        self._values = [
            {"value": value, "name": name, "colour": palette[3 * value : 3 * value + 3]}
            for value, name in named.items()
        ]
        self._started = _now()

    def open(self) -> None:
        """Raise unless the folder is empty or holds masks of the same settings."""
        folder = self.file.parent
        if not self.file.exists():
            there = sorted(e.name for e in folder.iterdir() if not e.name.startswith("."))
            if there:
                raise InputError(
                    f"{folder}: holds {there[0]!r} and no {RECORD}; expected a new or empty "
                    "folder, or one of an earlier run"
                )
            return
        try:
            found = self._read()
        except OSError as error:
            raise InputError(f"{self.file}: cannot be read: {error.strerror or error}") from error
        if found is None:
            self.corrupt = True
            return
        asked = {**dict.fromkeys(_OPTIONAL), **self._settings}
        differing = [key for key in asked if found.get(key) != asked[key]]
        if differing:
            key = differing[0]
            raise InputError(
                f"{self.file}: the masks there were made with {key} {found.get(key)!r}, asked for "
                f"is {asked[key]!r}; expected the same, or another folder"
            )

    def _read(self) -> dict[str, Any] | None:
        """Return the settings in the file; None if it is not as it was written."""
        content = self.file.read_bytes()
        whole = holds_digest(content, _DIGEST)
        if whole is False:
            return None
        try:
            found = json.loads(content)
            self.earlier = whole is None
            if self.earlier and tuple(found) != _KEYS:
                return None
            return dict(found["settings"])
        except (ValueError, KeyError, TypeError):
            return None

    def write(
        self,
        *,
        images: int,
        with_mask: int,
        failed: dict[str, str],
        counts: MaskCounts | None = None,
        ended: bool = False,
    ) -> None:
        """Write settings and counts, at the start and at the end of a run."""
        content: dict[str, Any] = {
            "settings": self._settings,
            "values": self._values,
            "counts": {"images": images, "masks": with_mask, "failed": len(failed)},
            "marked": None if counts is None else asdict(counts),
            "failed": failed,
            "package_version": package_version(),
            "started_at": self._started,
            "ended_at": _now() if ended else None,
            "digest": ZEROS.decode(),
        }
        text = json.dumps(content, indent=1) + "\n"
        try:
            write_whole(self.file, fill_digest(text.encode(), _DIGEST))
        except OSError as error:
            raise InputError(
                f"{self.file}: cannot be written: {error.strerror or error}"
            ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
