"""From a folder of images to a folder of masks, which a second run completes.

    OUT/<relative path>.png         a mask; an image with a mask is done
    OUT/soft/<class>/<path>.png     its scores, on request
    OUT/masks.json                  the settings of all of them

Resuming is running again: an image that has its mask is skipped.
"""

import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from studies.formatting import duration
from studies.masks.files import mask_of, voc_palette
from studies.masks.worker import SOFT, UNFINISHED_MASKS, MaskJob, one_batch_after_another
from studies.stages import package_version
from studies.store import require_writable
from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError

RECORD = "masks.json"
PROGRESS_S = 5.0  # seconds between two lines of progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MasksMade:
    """The result of a run.

    Attributes:
        written: masks that this run wrote.
        there_before: images that had their mask before.
        failed: image -> why it has no mask.
        seconds: of the whole run.

    """

    written: int
    there_before: int
    failed: dict[str, str]
    seconds: float


def make_masks(
    job: MaskJob,
    *,
    batch: int = 16,
    address: str | None = None,
    in_process: bool = False,
) -> MasksMade:
    """Make the masks that a folder of images lacks.

    Args:
        job: the images, the recipe, and the folder of the masks.
        batch: images a worker takes at a time.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: use no Ray, make one batch after another in this process.

    Raises:
        InputError: no images, folders that do not fit, or masks there of other settings.

    """
    began = time.perf_counter()
    if batch < 1:
        raise InputError(f"--batch {batch}: expected at least 1")
    names = find_images(Path(job.images))
    _check(job, names)
    record = _Record(job)
    record.open()
    missing = [name for name in names if not job.mask_file(name).exists()]
    before = len(names) - len(missing)
    logger.info("%d images%s", len(names), f", {before} have their mask" if before else "")
    failed: dict[str, str] = {}
    written = 0
    record.write(images=len(names), with_mask=before, failed=failed)
    if missing:
        if in_process:
            done: Iterable[tuple[str, str | None]] = one_batch_after_another(job, missing, batch)
        else:
            from studies.masks.stream import stream_masks

            done = stream_masks(job, missing, batch=batch, address=address)
        progress = _Progress(len(missing))
        for name, error in done:
            if error is None:
                written += 1
            else:
                failed[name] = error
            progress.one_more()
    shutil.rmtree(Path(job.out) / UNFINISHED_MASKS, ignore_errors=True)
    failed = dict(sorted(failed.items()))
    record.write(images=len(names), with_mask=before + written, failed=failed, ended=True)
    return MasksMade(written, before, failed, time.perf_counter() - began)


def find_images(folder: Path) -> list[str]:
    """Return the images in a folder and below it, relative to it, sorted.

    Raises:
        InputError: no such folder, or no image in it.

    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with images")
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_unrelated(name)]
        for name in files:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not _is_unrelated(name):
                found.append((Path(place) / name).relative_to(folder).as_posix())
    if not found:
        raise InputError(f"{folder}: no image, expected {', '.join(IMAGE_SUFFIXES)}")
    return sorted(found)


def _is_unrelated(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _check(job: MaskJob, names: list[str]) -> None:
    images, out = Path(job.images).resolve(), Path(job.out).resolve()
    if out == images or images in out.parents:
        raise InputError(
            f"{job.out}: lies in the folder of the images, where masks would be taken for images; "
            "expected another place"
        )
    masks: dict[PurePosixPath, str] = {}
    for name in names:
        mask = PurePosixPath(name).with_suffix("")
        if mask in masks:
            raise InputError(
                f"{images / name}: same stem as {masks[mask]}, so both would have the mask "
                f"{mask}.png; expected it only once"
            )
        masks[mask] = name
        if job.soft and mask.parts[0] == SOFT:
            raise InputError(f"{images / name}: its mask would lie among the soft maps, in {SOFT}")
    if job.soft:
        for name in job.recipe.classes:
            if name in (".", "..") or "/" in name:
                raise InputError(f"class {name!r}: no name of a folder, which soft maps need")
    # A pixel is tried: the threshold, the margin and the number of classes have to be possible.
    count = len(job.recipe.classes)
    blank = np.zeros((count, 1, 1), np.uint8)
    mask_of(blank, np.zeros(count, bool), job.recipe.level, uncertain=job.uncertain)
    require_writable(Path(job.out))


class _Record:
    """The file with the settings of all masks of a folder."""

    def __init__(self, job: MaskJob) -> None:
        self._file = Path(job.out) / RECORD
        self._settings = {
            **job.recipe.as_record(),
            "images": str(Path(job.images).resolve()),
            "uncertain": job.uncertain,
            "soft": job.soft,
        }
        palette = voc_palette()
        named = {0: "background", **dict(enumerate(job.recipe.classes, 1)), IGNORED: "uncertain"}
        self._values = [
            {"value": value, "name": name, "colour": palette[3 * value : 3 * value + 3]}
            for value, name in named.items()
        ]
        self._started = _now()

    def open(self) -> None:
        """Raise unless the folder is empty or holds masks of the same settings."""
        folder = self._file.parent
        if not self._file.exists():
            there = sorted(e.name for e in folder.iterdir() if not e.name.startswith("."))
            if there:
                raise InputError(
                    f"{folder}: holds {there[0]!r} and no {RECORD}; expected a new or empty "
                    "folder, or one of an earlier run"
                )
            return
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))["settings"]
            differing = [key for key in self._settings if found.get(key) != self._settings[key]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self._file}: not readable as what masks were made with") from error
        if differing:
            key = differing[0]
            raise InputError(
                f"{self._file}: the masks there were made with {key} {found.get(key)!r}, asked for "
                f"is {self._settings[key]!r}; expected the same, or another folder"
            )

    def write(
        self, *, images: int, with_mask: int, failed: dict[str, str], ended: bool = False
    ) -> None:
        """Write settings and counts, at the start and at the end of a run."""
        content: dict[str, Any] = {
            "settings": self._settings,
            "values": self._values,
            "counts": {"images": images, "masks": with_mask, "failed": len(failed)},
            "failed": failed,
            "package_version": package_version(),
            "started_at": self._started,
            "ended_at": _now() if ended else None,
        }
        unfinished = self._file.with_name(f".{RECORD}-{os.getpid()}")
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self._file)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Progress:
    """Logs every few seconds how many images are done, how fast, and how long the rest takes."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._first: float | None = None
        # The rate is that of the last seconds, from the first batch on: workers start slowly.
        self._late: deque[tuple[float, int]] = deque(maxlen=7)

    def one_more(self) -> None:
        """Count an image that is done."""
        self._done += 1
        now = time.perf_counter()
        self._first = self._first or now
        if now - self._first < 0.1:
            self._late.clear()
            self._late.append((now, self._done))
        if now - self._late[-1][0] < PROGRESS_S or self._done == self._total:
            return
        since, then = self._late[0]
        rate = (self._done - then) / (now - since)
        self._late.append((now, self._done))
        width = len(str(self._total))
        left = duration((self._total - self._done) / rate)
        done = f"[{self._done:{width}}/{self._total}]"
        logger.info("%s %.1f images/s, about %s left", done, rate, left)
