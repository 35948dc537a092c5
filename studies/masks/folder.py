"""From a folder of images to a folder of masks, which a second run completes.

    OUT/<relative path>.png         a mask; it holds the digests of its image and of itself
    OUT/soft/<class>/<path>.png     its scores, on request
    OUT/masks.json                  the settings of all of them
    OUT/{coco,coco-polygons,voc}/   annotation files, on request

Resuming is running again: an image that has its mask is skipped. A mask that is not as it was
written, and that of an image which was replaced under its name, are made again. Several drivers
may make the masks of one folder, see `studies.masks.sharing`.
"""

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from reports.progress import progress_bar
from studies.formatting import duration
from studies.masks.annotating import write_annotations
from studies.masks.completed import Completed, MaskCounts, MaskState, completed, count_masks
from studies.masks.files import mask_of, origin_of
from studies.masks.labels import check_labels
from studies.masks.record import MaskRecord
from studies.masks.segmenter_recipe import SegmenterRecipe
from studies.masks.segmenting import SegmenterMasks, most_probable
from studies.masks.sharing import MOST_SHARES, THERE, Made, leases_of, share_with_others, sole_lease
from studies.masks.windowed import check_framing
from studies.masks.worker import SOFT, UNFINISHED_MASKS, CamMasks, MaskJob
from studies.stages import keep_freed_memory
from studies.store import require_writable
from wsss_core.core_threads import CoreThreads
from wsss_core.data.annotations import AnnotationFormat
from wsss_core.data.folder.layout import IMAGE_SUFFIXES
from wsss_core.errors import InputError

PROGRESS_S = 5.0  # seconds between two lines of progress

Make = Callable[[Sequence[str]], Made]
"""Makes the masks of some images."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MasksMade:
    """The result of a run.

    Attributes:
        written: masks that this run wrote.
        there_before: images that had their mask before, or got it from another driver.
        replaced: images that were replaced under their name since their mask was made.
        corrupt: masks that were not as they were written.
        failed: image -> why it has no mask.
        seconds: of the whole run.
        counts: of all masks of the folder, those that were there before among them.
        annotations: the annotation files and folders that were written from all masks.

    """

    written: int
    there_before: int
    failed: dict[str, str]
    seconds: float
    replaced: int = 0
    corrupt: int = 0
    counts: MaskCounts = field(default_factory=MaskCounts)
    annotations: tuple[Path, ...] = ()


def make_missing_masks(
    job: MaskJob,
    *,
    batch: int = 16,
    address: str | None = None,
    in_process: bool = False,
    follow_links: bool = False,
    formats: Sequence[AnnotationFormat] = (),
) -> MasksMade:
    """Make the masks that a folder of images lacks.

    Args:
        job: the images, the recipe, and the folder of the masks.
        batch: images a worker takes at a time.
        address: of a running Ray cluster; None starts Ray on this machine.
        in_process: use no Ray; a thread for each of PyTorch's threads makes batches, or one GPU.
        follow_links: search linked folders for images too.
        formats: of annotation files that are written from all masks at the end.

    Raises:
        InputError: no images, folders that do not fit, or masks there of other settings.

    """
    began = time.perf_counter()
    if batch < 1:
        raise InputError(f"--batch {batch}: expected at least 1")
    names = find_images(Path(job.images), follow_links=follow_links, but=Path(job.out))
    _check(job, names)
    record = MaskRecord(job)
    record.open()
    found = completed(job, names, earlier=record.earlier)
    if record.corrupt:
        _require_ours(job, found, record.file)
    missing = found.missing
    before = len(names) - len(missing)
    logger.info("%d images%s", len(names), f", {before} have their mask" if before else "")
    replaced, corrupt = (len(found.of(state)) for state in (MaskState.REPLACED, MaskState.CORRUPT))
    if replaced:
        logger.info("%d were replaced since their mask was made; it is made again", replaced)
    if corrupt:
        or_labels = "" if job.labels is None else ", or of other labels"
        logger.warning(
            "%d masks are not as they were written%s; they are made again", corrupt, or_labels
        )
    failed: dict[str, str] = {}
    written = 0
    record.write(images=len(names), with_mask=before, failed=failed)
    if missing:
        make, at_once = _maker_here(job, batch) if in_process else _maker(job, batch, address)
        done = share_with_others(job, names, missing, make, at_once=at_once)
        with closing(_Progress(len(missing))) as progress:
            for name, error in done:
                if error is None:
                    written += 1
                elif error == THERE:
                    before += 1
                else:
                    failed[name] = error
                progress.one_more()
    failed = dict(sorted(failed.items()))
    masked = [name for name in names if name not in failed]
    annotations: tuple[Path, ...] = ()
    if formats:
        with sole_lease(job.out):
            annotations = tuple(write_annotations(job, masked, formats))
    if not leases_of(job.out).owners():
        shutil.rmtree(Path(job.out) / UNFINISHED_MASKS, ignore_errors=True)
    counts = count_masks(job, masked)
    record.write(
        images=len(names), with_mask=before + written, failed=failed, counts=counts, ended=True
    )
    _warn_of(job, counts)
    seconds = time.perf_counter() - began
    return MasksMade(written, before, failed, seconds, replaced, corrupt, counts, annotations)


def _maker(job: MaskJob, batch: int, address: str | None) -> tuple[Make, int]:
    """Return a function that makes masks on a Ray cluster, and how many shares it takes."""
    from studies.masks.stream import stream_masks

    return partial(stream_masks, job, batch=batch, address=address), MOST_SHARES


def _maker_here(job: MaskJob, batch: int) -> tuple[Make, int]:
    """Return the same for this process: on a GPU, else in a thread for each core."""
    gpu = torch.cuda.is_available()
    keep_freed_memory()
    new = SegmenterMasks if isinstance(job.recipe, SegmenterRecipe) else CamMasks
    threads = CoreThreads(lambda: new(job, device="cuda" if gpu else "cpu"), 1 if gpu else None)

    def make(names: Sequence[str]) -> Made:
        batches = (names[start : start + batch] for start in range(0, len(names), batch))
        return chain.from_iterable(threads.map(batches))

    return make, threads.count


def _warn_of(job: MaskJob, counts: MaskCounts) -> None:
    """Warn if all masks are empty, or all are full: no segmentation model learns from them."""
    if not counts.masks or counts.masks not in (counts.empty, counts.full):
        return
    recipe = job.recipe
    if isinstance(recipe, SegmenterRecipe):
        kind, why = ("full", "no") if counts.full else ("empty", "every")
        logger.warning(
            "warning: %d of %d masks are %s: %s pixel is background",
            *(counts.masks, counts.masks, kind, why),
        )
        return
    if counts.masks == counts.full:
        kind, why = "full", "no pixel is background"
        advice = f"the threshold is {recipe.level / 255:.3f}; --threshold gives another"
    else:
        kind, why = "empty", "no pixel is of a class"
        advice = "a lower --threshold may mark some"
        if job.labels is None and recipe.scaling.gating == "predicted":
            advice = (
                "cam.gating: predicted leaves a map empty unless the network predicts its class; "
                "--labels gates by known labels"
            )
    logger.warning(
        "warning: %d of %d masks are %s: %s; %s", counts.masks, counts.masks, kind, why, advice
    )


def _require_ours(job: MaskJob, found: Completed, record: Path) -> None:
    """Raise unless the masks beside a corrupt record are of the settings that are asked for."""
    for name in found.of(MaskState.CORRUPT):
        origin = origin_of(job.mask_file(name))
        if origin is not None and origin.settings != job.digest_of(name):
            raise InputError(
                f"{record}: corrupt, and {job.mask_file(name)} was made with other settings; "
                "expected another folder"
            )
    logger.warning("%s is corrupt; it is written again", record)


def find_images(folder: Path, *, follow_links: bool = False, but: Path | None = None) -> list[str]:
    """Return the images in a folder and below it, relative to it, sorted.

    Args:
        folder: the folder.
        follow_links: search linked folders too, each folder once whatever leads to it; otherwise
            a warning counts them.
        but: a folder that is not searched through links.

    Raises:
        InputError: no such folder, or no image in it.

    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with images")
    found: list[str] = []
    seen = {_identity(but)} if follow_links and but is not None and but.is_dir() else set()
    left, linked = [folder], 0
    # Links come last, so that an image is found by its own path where it has one.
    while left:
        for place, folders, files in os.walk(left.pop(0)):
            here = Path(place)
            if _identity(here) in seen:
                folders.clear()
                continue
            seen.add(_identity(here))
            folders[:] = sorted(name for name in folders if not _is_unrelated(name))
            links = [here / name for name in folders if (here / name).is_symlink()]
            linked += len(links)
            left += links if follow_links else []
            for name in files:
                if Path(name).suffix.lower() in IMAGE_SUFFIXES and not _is_unrelated(name):
                    found.append((here / name).relative_to(folder).as_posix())
    if linked and not follow_links:
        folders_were = "1 linked folder was" if linked == 1 else f"{linked} linked folders were"
        logger.warning("%s: %s not searched: --follow-links searches them", folder, folders_were)
    if not found:
        raise InputError(f"{folder}: no image, expected {', '.join(IMAGE_SUFFIXES)}")
    return sorted(found)


def _identity(folder: Path) -> tuple[int, int]:
    """Return the numbers of a folder's device and inode, which no other folder has."""
    state = folder.stat()
    return state.st_dev, state.st_ino


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
    if job.labels is not None:
        check_labels(job.labels, names)
    check_framing(job, names)
    if job.soft:
        for name in job.recipe.classes:
            if name in (".", "..") or "/" in name:
                raise InputError(f"class {name!r}: no name of a folder, which soft maps need")
    # A pixel is tried: the threshold, the margin and the number of classes have to be possible.
    count, recipe = len(job.recipe.classes), job.recipe
    if isinstance(recipe, SegmenterRecipe):
        most_probable(np.zeros((count + 1, 1, 1)), uncertain=job.uncertain)
    else:
        blank = np.zeros((count, 1, 1), np.uint8)
        mask_of(blank, np.zeros(count, bool), recipe.level, uncertain=job.uncertain)
    require_writable(Path(job.out))


class _Progress:
    """Logs every few seconds how many images are done, how fast, and how long the rest takes."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._bar = progress_bar(total, "images")
        self._first: float | None = None
        # The rate is that of the last seconds, from the first batch on: workers start slowly.
        self._late: deque[tuple[float, int]] = deque(maxlen=7)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def one_more(self) -> None:
        """Count an image that is done."""
        self._done += 1
        self._bar.update()
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
