"""Every chosen image opened once before anything is written: sizes, orientation, masks."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from wsss_core.data.formats import EmptyMask, Picture, tallied
from wsss_core.data.image_decoding import exif_orientation
from wsss_core.data.image_set import IGNORED, SPLITS
from wsss_core.data.importing.candidates import ImportCandidate
from wsss_core.data.importing.settings import ImportSettings
from wsss_core.data.importing.splitting import Assigned
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError

_FULL = 0.8  # share of object above which most masks of a set of one class look inverted
_EXIF = "images have an EXIF orientation that no mask settles"


@dataclass(frozen=True)
class Examined:
    """An image of the set to be.

    Attributes:
        candidate: the image; its picture is turned upright where that is meant.
        split: its split.
        held: codes of the classes that it holds.
        tiny: codes of the classes that its mask holds with less than the least area.
        masked: whether a mask is written for it.
        share: the share of object in its mask, ignored pixels left out; 0 without a mask.

    """

    candidate: ImportCandidate
    split: str
    held: tuple[int, ...]
    tiny: tuple[int, ...] = ()
    masked: bool = False
    share: float = 0.0


@dataclass(frozen=True)
class _Fault:
    """Why an image cannot be taken; `fatal`: nothing is imported because of it."""

    said: str
    name: str
    fatal: bool = True


def examine_images(
    assigned: Assigned, classes: tuple[str, ...], settings: ImportSettings
) -> tuple[list[Examined], list[str]]:
    """Return every image with what its mask holds, and notes.

    Raises:
        InputError: an image or mask cannot be read, sizes differ, or an orientation is not settled;
            faults of one kind are tallied.

    """
    work = [(split, candidate) for split, members in assigned.items() for candidate in members]
    progress = ProgressLines("images and masks checked", len(work))

    def examine(item: tuple[str, ImportCandidate]) -> Examined | _Fault:
        try:
            found = _examined(*item, classes, settings)
        except InputError as error:
            found = _Fault("images cannot be imported", str(error))
        progress.step()
        return found

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(examine, work))
    faults: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for one in found:
        if isinstance(one, _Fault):
            faults[not one.fatal, one.said].append(one.name)
    for (passing, said), names in sorted(faults.items()):
        if not passing:
            hint = "; say --orientation apply or ignore" if said == _EXIF else ""
            raise InputError(f"{tallied(len(names), said, names[0])}{hint}")
    kept = [one for one in found if isinstance(one, Examined)]
    notes = [tallied(len(names), said, names[0]) for (_, said), names in faults.items()]
    for split in assigned:
        if not any(one.split == split for one in kept):
            raise InputError(f"no image is left in {split}: {'; '.join(notes)}")
    return kept, [*notes, *_notes(kept, classes, settings)]


def _examined(
    split: str, candidate: ImportCandidate, classes: tuple[str, ...], settings: ImportSettings
) -> Examined | _Fault:
    image = candidate.image
    wants_mask = split != "train"
    mask = image.mask.read() if wants_mask and image.mask is not None else None
    picture = _settled(candidate, settings)
    if picture is None:
        return _Fault(_EXIF, image.name)
    shape = picture.shape()
    labelled = tuple(k + 1 for k, name in enumerate(classes) if name in candidate.labels.present)
    settled = replace(candidate, image=replace(image, picture=picture))
    if mask is None:
        return Examined(settled, split, labelled)
    if mask.shape != shape:
        said = "images differ in size from their mask"
        height, width = mask.shape
        return _Fault(said, f"{image.name}, {shape[1]}x{shape[0]}, mask {width}x{height}")
    areas = np.bincount(mask.ravel(), minlength=256)
    present = [k for k in range(1, len(classes) + 1) if areas[k]]
    held = tuple(k for k in present if areas[k] >= settings.least_area)
    tiny = tuple(k for k in present if areas[k] < settings.least_area)
    if labelled and not held:
        said = f"images of {split} are left out, as their mask shows none of their classes"
        return _Fault(said, image.name, fatal=False)
    masked = bool(held or tiny or areas[IGNORED])
    counted = int(mask.size - areas[IGNORED])
    share = 1 - int(areas[0]) / counted if counted else 0.0
    return Examined(settled, split, held, tiny, masked, share)


def _settled(candidate: ImportCandidate, settings: ImportSettings) -> Picture | None:
    """Return the picture, upright where its orientation tag is meant; None if that is not clear."""
    picture = candidate.image.picture
    if picture.frame is not None or picture.upright or exif_orientation(picture.path) == 1:
        return picture
    upright = replace(picture, upright=True)
    if settings.orientation is not None:
        return upright if settings.orientation == "apply" else picture
    mask = candidate.image.mask
    if picture.window is not None or mask is None or isinstance(mask, EmptyMask):
        return None
    stored, turned = picture.shape(), upright.shape()
    if stored == turned:
        return None
    return upright if mask.read().shape == turned else picture


def _notes(
    kept: Sequence[Examined], classes: tuple[str, ...], settings: ImportSettings
) -> list[str]:
    notes = []
    tiny = [one.candidate.image.name for one in kept if one.tiny]
    if tiny:
        said = f"masks hold a class with less than {settings.least_area} pixels, now ignored"
        notes.append(tallied(len(tiny), said, tiny[0]))
    full = [one.candidate.image.name for one in kept if one.share > _FULL]
    if len(classes) == 1 and 2 * len(full) > sum(one.masked for one in kept):
        said = (
            f"masks are {classes[0]} in more than {_FULL:.0%} of their pixels; are they inverted?"
        )
        notes.append(tallied(len(full), said, full[0]))
    turned = [one.candidate.image.name for one in kept if one.candidate.image.picture.upright]
    if turned:
        notes.append(tallied(len(turned), "images are turned upright", turned[0]))
    for split in SPLITS:
        held = {code for one in kept if one.split == split for code in one.held}
        missing = [name for code, name in enumerate(classes, start=1) if code not in held]
        if missing:
            notes.append(f"no image of {split} holds {', '.join(missing)}")
    if all(one.held for one in kept if one.split == "train"):
        notes.append("every image of train holds a class, none is clear")
    return notes
