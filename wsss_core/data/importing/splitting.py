"""Splits by the source's own, by lists, or by shares; a group never lies in two of them."""

import random as python_random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from wsss_core.data.folder.findings import SHARED_GROUPS
from wsss_core.data.formats import SPLIT_WORDS, composed, read_array, tallied
from wsss_core.data.image_set import SPLITS
from wsss_core.data.importing.candidates import ImportCandidate
from wsss_core.data.importing.settings import SplitSettings
from wsss_core.errors import InputError, quoted
from wsss_core.text_files import read_text

_LIST_BYTES = 2**28
_UNEVEN = 0.05  # of all images: a split that misses its share by more is told

Assigned = dict[str, list[ImportCandidate]]
"""Split -> its images."""


def split_images(
    candidates: Sequence[ImportCandidate],
    settings: SplitSettings,
    seed: int,
    taken: Iterable[str] = (),
) -> tuple[Assigned, list[str]]:
    """Return the images of every split, and notes on those that are left out.

    Images of tune and test need a mask, or to be known as clear; those without are left out there.

    Args:
        candidates: all images.
        settings: how to split.
        seed: of the shares.
        taken: sources whose images are taken for training alone.

    Raises:
        InputError: the splits of some images are not clear, a list names an unknown image, or a
            split is empty.

    """
    for_train = set(taken)
    fixed = [c for c in candidates if c.source in for_train]
    free = [c for c in candidates if c.source not in for_train]
    notes: list[str] = []
    if settings.shares:
        assigned, notes = _by_shares(free, settings.shares, seed)
    elif settings.lists:
        assigned, notes = _by_lists(free, settings.lists)
    else:
        assigned, notes = _by_names(free, settings.names)
    if settings.tune is not None:
        notes += _cut_tune(assigned, settings.tune, settings.tune_from, seed)
    assigned["train"] = [*assigned["train"], *fixed]  # what is taken to train does not leave it
    for split in ("tune", "test"):
        masked = [c for c in assigned[split] if c.image.mask is not None]
        if lone := [c.image.name for c in assigned[split] if c.image.mask is None]:
            said = f"images of {split} have no mask and are left out"
            notes.append(tallied(len(lone), said, lone[0]))
        assigned[split] = masked
    for split in SPLITS:
        if not assigned[split]:
            raise InputError(f"no image is in {split}; say e.g. {_remedy(split, assigned)}")
    notes += _shared_groups(assigned)
    return assigned, notes


def _remedy(missing: str, assigned: Assigned) -> str:
    """Return the options that fill a split; of the source's own words where it has splits."""
    shares = "--split train=0.7,tune=0.1,test=0.2"
    if missing == "tune":
        return (
            "--tune 0.1 to cut it from train, --split tune=val to rename one of the source, or "
            f"{shares}"
        )
    words = sorted({c.image.split for split in SPLITS for c in assigned[split] if c.image.split})
    if missing == "test" and assigned["tune"] and (word := assigned["tune"][0].image.split):
        renamed = f"--split test={word} --tune 0.1"
        return f"{renamed} to score with {word} and cut tune from train, or {shares}"
    if not words:
        return shares
    known = ", ".join(words)
    return f"--split {missing}={words[-1]} to rename one of the source ({known}), or {shares}"


def _empty() -> Assigned:
    return {split: [] for split in SPLITS}


def _by_names(
    candidates: Sequence[ImportCandidate], names: Mapping[str, Sequence[str]]
) -> tuple[Assigned, list[str]]:
    word_of = {word: split for split, words in names.items() for word in words}
    found = {c.image.split for c in candidates if c.image.split is not None}
    for word in word_of:
        if word not in found:
            raise InputError(
                f"split {quoted(word)}, expected one of the source: "
                f"{', '.join(sorted(found)) or 'it has none'}"
            )
    assigned = _empty()
    unclear: dict[str | None, list[str]] = defaultdict(list)
    for candidate in candidates:
        written = candidate.image.split
        # A name that one split was told to be made of is no longer what it is usually taken for.
        split = word_of.get(written or "") or SPLIT_WORDS.get((written or "").lower())
        if split is None or (split in names and written not in word_of):
            unclear[written].append(candidate.image.name)
        else:
            assigned[split].append(candidate)
    notes = []
    for written, images in unclear.items():
        said = f"images are in no split ({quoted(written) if written else 'none is given'})"
        line = tallied(len(images), said, images[0])
        if not names:
            raise InputError(f"{line}; say --split train=0.7,tune=0.1,test=0.2, or which it is")
        notes.append(f"{line} and left out")
    return assigned, notes


def _by_shares(
    candidates: Sequence[ImportCandidate], shares: Mapping[str, float], seed: int
) -> tuple[Assigned, list[str]]:
    """Assign whole groups, in random order, each to the split that lacks most of its share."""
    assigned = _empty()
    total = len(candidates)
    groups = _groups(candidates, seed)
    wanted = [split for split, share in shares.items() if share]
    if len(groups) < len(wanted):
        shown = quoted(groups[0][0].group) if groups else "none"
        raise InputError(
            f"{total} images are of {len(groups)} group{'s' if len(groups) != 1 else ''} "
            f"({shown}), which no split divides; expected at least a group for each of "
            f"{', '.join(wanted)}. --group-by, or {{group}} in a pattern, says what a group is; "
            "--split train=train.txt,... divides groups by lists of images"
        )
    for at, members in enumerate(groups):
        lacking = {split: shares[split] * total - len(assigned[split]) for split in wanted}
        empty = [split for split in wanted if not assigned[split]]
        if len(groups) - at <= len(empty):  # otherwise a split would stay empty
            lacking = {split: lacking[split] for split in empty}
        assigned[max(lacking, key=lambda split: lacking[split])] += members
    notes = [
        f"{split} has {len(assigned[split]) / total:.0%} of the images where "
        f"{share:.0%} was asked for, as groups are kept together"
        for split, share in shares.items()
        if abs(len(assigned[split]) - share * total) > max(1.0, _UNEVEN * total)
    ]
    return assigned, notes


def _groups(candidates: Sequence[ImportCandidate], seed: int) -> list[list[ImportCandidate]]:
    groups: dict[str, list[ImportCandidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.source, c.image.name)):
        groups[candidate.group].append(candidate)
    members = [groups[name] for name in sorted(groups)]
    python_random.Random(seed).shuffle(members)
    # Large groups first, so that small ones can even out the shares; sorting keeps ties in order.
    return sorted(members, key=lambda group: -len(group))


def _cut_tune(assigned: Assigned, amount: float, origin: str, seed: int) -> list[str]:
    """Move images to tune, by whole groups; return a note where they are not as many as asked."""
    if assigned["tune"]:
        raise InputError(
            f"tune: {len(assigned['tune'])} images are in it already, expected none where --tune "
            "cuts it from another split"
        )
    pool = assigned[origin]
    wanted = round(amount * len(pool)) if amount < 1 else int(amount)
    groups = _groups(pool, seed)
    python_random.Random(seed + 1).shuffle(groups)
    usable = [g for g in groups if all(c.image.mask is not None for c in g)]
    cut: list[ImportCandidate] = []
    for members in usable:
        if len(cut) >= wanted:
            break
        if len(cut) + len(members) <= wanted or not cut:
            cut += members
    if len(cut) == 0 or len(cut) == len(pool):
        masked = sum(len(group) for group in usable)
        raise InputError(
            f"tune: {wanted} of {len(pool)} images of {origin} are to be cut off, {masked} of them "
            "have masks in groups that can be cut off"
        )
    gone = {(c.source, c.image.name) for c in cut}
    assigned[origin] = [c for c in pool if (c.source, c.image.name) not in gone]
    assigned["tune"] = cut
    if len(cut) == wanted:
        return []
    lone = sum(c.image.mask is None for c in pool)
    reason = "groups are kept together" + (f" and {lone} images have no mask" if lone else "")
    return [f"tune has {len(cut)} images where {wanted} were asked for, as {reason}"]


def _by_lists(
    candidates: Sequence[ImportCandidate], lists: Mapping[str, Path]
) -> tuple[Assigned, list[str]]:
    keys: dict[str, list[ImportCandidate]] = defaultdict(list)
    for candidate in candidates:
        name, path = candidate.image.name, candidate.image.picture.path
        stem = PurePosixPath(name).name
        for key in {name, stem, path.name, f"{name}{path.suffix}"}:
            keys[composed(key)].append(candidate)
    assigned = _empty()
    split_of: dict[tuple[str, str], str] = {}
    for split, file in lists.items():
        for line, text in enumerate(_listed(file), start=1):
            found = _find(text, keys, f"{file}, line {line}")
            at = (found.source, found.image.name)
            if split_of.setdefault(at, split) != split:
                raise InputError(f"{file}, line {line}: {quoted(text)} is in {split_of[at]} too")
            if found not in assigned[split]:
                assigned[split].append(found)
    rest = [c.image.name for c in candidates if (c.source, c.image.name) not in split_of]
    said = "images are in no list and left out"
    return assigned, [tallied(len(rest), said, rest[0])] if rest else []


def _listed(file: Path) -> list[str]:
    """Return the images that a file lists: a text with one a line, or a NumPy array of texts."""
    if file.suffix.lower() == ".npy":
        array = read_array(file, expected="a NumPy array of texts, without pickled objects")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "US":
            raise InputError(f"{file}: expected a NumPy array of texts")
        return [str(text) for text in array.astype(str).ravel().tolist()]
    lines = (line.strip() for line in read_text(file, _LIST_BYTES).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _find(text: str, keys: Mapping[str, list[ImportCandidate]], where: str) -> ImportCandidate:
    """Return the image of a line, which may go on with its mask's path, as SegNet's lists do."""
    for written in (text, text.split(",")[0], text.split()[0]):
        path = PurePosixPath(composed(written.strip().strip('"').replace("\\", "/")))
        relative = path.relative_to("/") if path.is_absolute() else path
        tails = ["/".join(relative.parts[at:]) for at in range(len(relative.parts))]
        for key in (*tails, path.stem):
            found = keys.get(key, [])
            if len(found) == 1:
                return found[0]
            if len(found) > 1:
                raise InputError(
                    f"{where}: {quoted(text)} may be {found[0].image.name} or "
                    f"{found[1].image.name}; give its path"
                )
    raise InputError(f"{where}: {quoted(text)} is no image of the sources")


def _shared_groups(assigned: Assigned) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for split, members in assigned.items():
        for candidate in members:
            splits[candidate.group].add(split)
    shared = sorted(group for group, found in splits.items() if len(found) > 1)
    said = f"{SHARED_GROUPS}, as the source has it"
    return [tallied(len(shared), said, shared[0])] if shared else []
