"""Findings about images that are there twice: in two splits, under two labels, as near twins."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from wsss_core.data.folder.examination import ExaminedImage, ExaminedSplit
from wsss_core.data.folder.findings import (
    FOLDER_REMEDIES,
    DataFinding,
    FindingKind,
    Remedies,
    Severity,
)
from wsss_core.data.folder.label_findings import place_of
from wsss_core.data.thumbnails import TWIN_DISTANCE, find_twins

_SAME_SPLIT = 0.9  # share of a split's images in another one above which it is that split


def copy_findings(
    splits: Mapping[str, ExaminedSplit],
    classes: Sequence[str],
    remedies: Remedies = FOLDER_REMEDIES,
) -> list[DataFinding]:
    """Return warnings of images that are equal, byte by byte or nearly, where they should differ.

    Args:
        splits: split -> its images.
        classes: the classes of the data set.
        remedies: what is to be done about them.

    """
    return [
        *_equal_across(splits),
        *_equal_within(splits, classes),
        *_twins_across(splits),
        *_twins_within(splits, remedies),
    ]


def _digest(image: ExaminedImage) -> str:
    return image.digests[image.entry.image]


def _by_digest(images: ExaminedSplit) -> dict[str, ExaminedImage]:
    """Return digest -> the first image of these bytes."""
    return {_digest(image): image for image in reversed(images)}


def _pair(image: ExaminedImage, split: str, other: ExaminedImage, other_split: str) -> str:
    return f"{place_of(image, split)} = {place_of(other, other_split)}"


def _equal_across(splits: Mapping[str, ExaminedSplit]) -> list[DataFinding]:
    found = []
    for first, later in combinations(splits, 2):
        known = _by_digest(splits[first])
        images = splits[later]
        same = [image for image in images if _digest(image) in known]
        if not same:
            continue
        names = [_pair(image, later, known[_digest(image)], first) for image in same]
        text = f"of {len(images):,} images are in {first} too, byte by byte"
        if len(same) >= _SAME_SPLIT * len(images):
            text = f"of {len(images):,} images are those of {first}: {later} is {first}"
        found.append(
            DataFinding.counted(FindingKind.DUPLICATES, Severity.WARNING, text, names, later)
        )
    return found


def _equal_within(splits: Mapping[str, ExaminedSplit], classes: Sequence[str]) -> list[DataFinding]:
    found = []
    for split, images in splits.items():
        same: dict[str, list[ExaminedImage]] = defaultdict(list)
        for image in images:
            same[_digest(image)].append(image)
        several = [members for members in same.values() if len(members) > 1]
        differing = [m for m in several if len({one.held(len(classes)) for one in m}) > 1]
        alike = [members for members in several if members not in differing]
        for members, text in (
            (differing, "images are there twice under several labels"),
            (alike, "images are there twice, byte by byte"),
        ):
            names = [" = ".join(place_of(one, split) for one in m) for m in members]
            if names:
                found.append(
                    DataFinding.counted(
                        FindingKind.DUPLICATES, Severity.WARNING, text, names, split
                    )
                )
    return found


def _thumbnails(images: ExaminedSplit) -> np.ndarray:
    return np.stack([image.thumbnail for image in images])


def _twins_across(splits: Mapping[str, ExaminedSplit]) -> list[DataFinding]:
    """Return a warning for each pair of splits with twins that are not equal byte by byte."""
    found = []
    small = {split: _thumbnails(images) for split, images in splits.items() if images}
    for first, later in combinations(small, 2):
        known = _by_digest(splits[first])
        images = splits[later]
        twins = find_twins(small[later], small[first])
        names = [
            f"{place_of(image, later)} ~ {place_of(splits[first][twin], first)}"
            for image, twin in zip(images, twins.tolist(), strict=True)
            if twin >= 0 and _digest(image) not in known
        ]
        if names:
            text = (
                f"of {len(images):,} images have a near twin in {first} (thumbnails within "
                f"{TWIN_DISTANCE:.0f} of 255): re-saved or resized copies, or neighbouring frames; "
                "`wsss data import --drop-twins` leaves them out"
            )
            found.append(
                DataFinding.counted(FindingKind.TWINS, Severity.WARNING, text, names, later)
            )
    return found


def _twins_within(splits: Mapping[str, ExaminedSplit], remedies: Remedies) -> list[DataFinding]:
    """Return a warning of twins in a scored split that no group joins, as intervals need groups."""
    found = []
    for split in ("tune", "test"):
        images = splits.get(split, ())
        if not images:
            continue
        twins = find_twins(_thumbnails(images), _thumbnails(images), apart=True)
        names = [
            f"{place_of(image, split)} ~ {place_of(images[twin], split)}"
            for image, twin in zip(images, twins.tolist(), strict=True)
            if twin >= 0
            and image.entry.group != images[twin].entry.group
            and _digest(image) != _digest(images[twin])
        ]
        if names:
            text = (
                f"of {len(images):,} images have a near twin in the same split that no group "
                f"joins, and count as independent of it; {remedies.groups}"
            )
            found.append(
                DataFinding.counted(FindingKind.GROUPS, Severity.WARNING, text, names, split)
            )
    return found
