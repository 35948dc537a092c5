"""Trap splits: in training a flag goes with the class, in the test split it goes against it.

A network that takes the flag for the class does well on images like those it was trained on and
fails on the test split (Bissoto et al., "Debiasing Skin Lesion Datasets and Models? Not So Fast",
CVPR Workshops 2020). Images are left out, none is moved: train, tune and test keep their groups
apart, and masks stay where they are.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_core.data.folder import FolderSource
from wsss_core.data.folder.layout import LABELS, TRAINING_MASKS, ListedImage
from wsss_core.data.folder.origins import ATTRIBUTES, GROUPS, read_flags
from wsss_core.data.image_set import SPLITS
from wsss_core.data.importing.record import csv_text
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, as_input_error, nearest, quoted
from wsss_core.whole_files import write_whole

TRAP_RECORD = "trap.json"
"""The record of a trap, which says how it was made."""

SOURCE_FLAG = "source "
"""Begins the name of a flag that is a source of images."""


@dataclass(frozen=True)
class TrapSplit:
    """A split of a trap: images by label and flag, before and after.

    Attributes:
        split: its name.
        agreement: the wanted share of images whose flag agrees with the label.
        found: images with class and flag, class alone, flag alone, neither.
        kept: the same of those that are kept.

    """

    split: str
    agreement: float
    found: tuple[int, int, int, int]
    kept: tuple[int, int, int, int]

    @property
    def shares(self) -> tuple[float, float]:
        """The share of flagged images among those kept with the class, and without it."""
        with_both, with_class, with_flag, neither = self.kept
        return with_both / (with_both + with_class), with_flag / (with_flag + neither)


@dataclass(frozen=True)
class TrapSplits:
    """A trap that was made."""

    folder: Path
    flag: str
    class_name: str
    splits: tuple[TrapSplit, ...]

    def describe(self) -> str:
        """Return lines on each split: how many images, and how often the flag is there."""
        lines = []
        for one in self.splits:
            held, clear = one.shares
            lines.append(
                f"{one.split:6}{sum(one.kept):,} of {sum(one.found):,} images; {self.flag} in "
                f"{100 * held:.0f} % of those with {self.class_name} and in {100 * clear:.0f} % of "
                "the others"
            )
        return "\n".join([*lines, f"written: {self.folder}"])


def make_trap(
    root: Path,
    folder: Path,
    flag: str,
    *,
    class_name: str | None = None,
    agreement: float = 0.9,
    seed: int = 0,
    linked: bool = False,
) -> TrapSplits:
    """Write a data folder with those images of another that make a flag a trap.

    In train and tune a share `agreement` of the images with the class have the flag, and as many of
    the others lack it; in test it is the other way round. Of each of the four kinds as many images
    are kept as that allows, drawn at random.

    Args:
        root: a data folder whose images have flags, see `wsss_core.data.folder.origins`.
        folder: where to write; must be new or empty.
        flag: a flag, or "source NAME" for the images of a source.
        class_name: the class that the flag goes with; None: the only one.
        agreement: above 0.5, at most 1.
        seed: of the images that are kept.
        linked: link files instead of copying them.

    Raises:
        InputError: no image of a split has the flag, or a kind of image that is needed is missing;
            or the folder is not empty.

    """
    source = FolderSource(root)
    number = _class_number(source, class_name)
    if not 0.5 < agreement <= 1:
        raise InputError(f"agreement: expected above 0.5, at most 1, got {agreement}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a new or an empty folder")
    chosen: dict[str, list[ListedImage]] = {}
    made = []
    for split in SPLITS:
        entries = source.images(split)
        held = source.outline(split).labels[:, number]
        flagged = _flagged(source, split, entries, flag)
        wanted = agreement if split != "test" else 1 - agreement
        kept = _kept(split, flag, held, flagged, wanted, np.random.default_rng(seed))
        chosen[split] = [entry for entry, stays in zip(entries, kept, strict=True) if stays]
        counts = (_counts(held, flagged), _counts(held[kept], flagged[kept]))
        made.append(TrapSplit(split, wanted, *counts))
    trap = TrapSplits(folder, flag, source.classes[number], tuple(made))
    with as_input_error(f"{folder}: cannot be written", OSError):
        _write(source, folder, chosen, linked=linked)
        record = {
            "from": source.root.name,
            "flag": flag,
            "class": trap.class_name,
            "agreement": agreement,
            "seed": seed,
            "splits": [asdict(one) for one in made],
        }
        write_whole(folder / TRAP_RECORD, json.dumps(record, indent=1).encode())
    return trap


def _class_number(source: FolderSource, name: str | None) -> int:
    if name is None and len(source.classes) == 1:
        return 0
    if name not in source.classes:
        given = "none" if name is None else quoted(name)
        raise InputError(f"class: expected one of {', '.join(source.classes)}, got {given}")
    return source.classes.index(name)


def _flagged(
    source: FolderSource, split: str, entries: Sequence[ListedImage], flag: str
) -> NDArray[np.bool_]:
    """Return which images of a split have the flag."""
    if flag.startswith(SOURCE_FLAG):
        names = [{SOURCE_FLAG + entry.source} if entry.source else set() for entry in entries]
    else:
        found = read_flags(source.root, split, {entry.identifier for entry in entries})
        names = [set(found.get(entry.identifier, ())) for entry in entries]
    there = set[str]().union(*names)
    if flag not in there:
        near = nearest(flag, sorted(there))
        said = f"nearest: {near!r}" if near else f"{source.root / ATTRIBUTES} lists flags"
        raise InputError(f"{source.root / split}: no image has the flag {quoted(flag)}; {said}")
    return np.array([flag in one for one in names])


def _kept(
    split: str,
    flag: str,
    held: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
    share: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return which images stay, so that the share of the flag is as wanted on both sides."""
    kept = np.zeros(len(held), bool)
    for label, wanted in ((True, share), (False, 1 - share)):
        sides = [np.flatnonzero((held == label) & (flagged == has)) for has in (True, False)]
        counts = most_with_share(len(sides[0]), len(sides[1]), wanted)
        if not sum(counts):
            lacking = "with" if not len(sides[0]) else "without"
            raise InputError(
                f"{split}: no image {'with' if label else 'without'} the class is {lacking} the "
                f"flag {quoted(flag)}, so a share of {wanted:g} is out of reach"
            )
        for side, count in zip(sides, counts, strict=True):
            kept[generator.permutation(side)[:count]] = True
    return kept


def most_with_share(there: int, others: int, share: float) -> tuple[int, int]:
    """Return the most images of two kinds of which the first kind has a share, rounded.

    >>> most_with_share(100, 100, 0.9), most_with_share(3, 100, 0.9), most_with_share(5, 0, 1.0)
    ((100, 11), (3, 0), (5, 0))
    """
    for total in range(there + others, 0, -1):
        first = round(share * total)
        if first <= there and total - first <= others:
            return first, total - first
    return 0, 0


def _counts(held: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    four = (held & flagged, held & ~flagged, ~held & flagged, ~held & ~flagged)
    with_both, with_class, with_flag, neither = (int(one.sum()) for one in four)
    return with_both, with_class, with_flag, neither


def _write(
    source: FolderSource,
    folder: Path,
    chosen: dict[str, list[ListedImage]],
    *,
    linked: bool,
) -> None:
    root = source.root
    masks = {mask.identifier: mask.path for mask in source.training_masks().values()}
    files: list[Path] = []
    groups, attributes = [], []
    for split, entries in chosen.items():
        flags = read_flags(root, split, {entry.identifier for entry in source.images(split)})
        for entry in entries:
            own = (entry.image, entry.mask, entry.context)
            files += [file for file in own if file is not None]
            if split == "train" and entry.identifier in masks:
                files.append(masks[entry.identifier])
            name = f"{split}/{entry.identifier}"
            groups.append([name, entry.group, entry.source, entry.camera])
            if entry.identifier in flags:
                attributes.append([name, ";".join(flags[entry.identifier])])
        if split != "train":
            for part in ("images", TRAINING_MASKS):
                (folder / split / part).mkdir(parents=True, exist_ok=True)
    progress = ProgressLines("files written", len(files))
    for file in files:
        place = folder / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if linked:
            os.symlink(file.resolve(), place)
        else:
            write_whole(place, file.read_bytes())
        progress.step()
    write_whole(folder / GROUPS, csv_text(("file", "group", "source", "camera"), groups))
    write_whole(folder / ATTRIBUTES, csv_text(("file", "flags"), attributes))
    for listing in root.glob("classes.y*ml"):
        write_whole(folder / listing.name, listing.read_bytes())
    if (root / "train" / LABELS).exists():
        labels = [
            [Path(entry.identifier).name, ";".join(source.classes[n] for n in entry.train_classes)]
            for entry in chosen["train"]
        ]
        write_whole(folder / "train" / LABELS, csv_text(("file", "classes"), labels))
