"""Findings about labels, groups and sizes of the images of a split."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from wsss_core.data.folder.examination import ExaminedImage, ExaminedSplit
from wsss_core.data.folder.findings import (
    FOLDER_REMEDIES,
    SHARED_GROUPS,
    DataFinding,
    FindingCollector,
    FindingKind,
    Remedies,
    Severity,
)
from wsss_core.data.pixel_rules import PixelRules

_SHORT_SIDE = 8  # pixels below which an image holds next to nothing


def place_of(image: ExaminedImage, split: str) -> str:
    """Return the path of an image within the data folder."""
    return f"{split}/{image.entry.identifier}"


def missing_classes(
    labels: np.ndarray, classes: Sequence[str], split: str, where: str = ""
) -> list[DataFinding]:
    """Return a fault for each class that no image of a split holds: nothing learns or scores it.

    Args:
        labels: bool [N, K], which class an image holds.
        classes: the K classes.
        split: the split.
        where: what holds the classes, for the message.

    """
    return [
        DataFinding(
            FindingKind.LABELS,
            Severity.REFUSED,
            f"no image holds class {name!r}, expected at least one{where}",
            split=split,
        )
        for name, count in zip(classes, labels.sum(axis=0).tolist(), strict=True)
        if count == 0
    ]


def label_findings(labels: np.ndarray, classes: Sequence[str], split: str) -> list[DataFinding]:
    """Return warnings of classes that every image of a split holds.

    Args:
        labels: bool [N, K], which class an image holds.
        classes: the K classes.
        split: the split.

    """
    always = [name for number, name in enumerate(classes) if labels[:, number].all()]
    if not always or not len(labels):
        return []
    so = "a classifier learns nothing from it" if split == "train" else "accuracy is not balanced"
    return [
        DataFinding.counted(
            FindingKind.LABELS,
            Severity.WARNING,
            f"every image holds this class and none lacks it, so {so}; add images without it",
            always,
            split,
        )
    ]


def picture_findings(images: ExaminedSplit, split: str, rules: PixelRules) -> list[DataFinding]:
    """Return what the decoding of a split's files found that may not be meant."""
    told = FindingCollector()
    for image in images:
        name, picture = place_of(image, split), image.picture
        if picture.turned and rules.orientation == "apply":
            text = "images are turned upright as their EXIF orientation says"
            told.add(FindingKind.ORIENTATION, Severity.NOTE, text, name, split)
        elif picture.turned:
            text = (
                "images have an EXIF orientation that is ignored: they are read as stored, turned "
                "or mirrored; `data: {orientation: apply}` turns them upright"
            )
            told.add(FindingKind.ORIENTATION, Severity.WARNING, text, name, split)
        for facts in (picture, *image.masks_and_contexts):
            if facts.pages > 1:
                text = "files hold several pictures (pages or frames), of which the first is read"
                written = name if facts is picture else f"{split}/{_short(facts.path)}"
                told.add(FindingKind.PAGES, Severity.WARNING, text, written, split)
        if picture.transparent:
            text = "images have transparent pixels, whose hidden colours are read"
            told.add(FindingKind.TRANSPARENCY, Severity.WARNING, text, name, split)
        if picture.bits > 8:
            text = "images of 16 bits per channel are reduced to 8"
            told.add(FindingKind.BIT_DEPTH, Severity.NOTE, text, name, split)
        if min(picture.shape) < _SHORT_SIDE:
            text = f"images have a side of less than {_SHORT_SIDE} pixels"
            told.add(FindingKind.SIZES, Severity.WARNING, text, name, split)
    return told.findings()


def _short(path: object) -> str:
    parts = str(path).replace("\\", "/").split("/")
    return "/".join(parts[-2:])


def group_findings(
    splits: Mapping[str, ExaminedSplit], remedies: Remedies = FOLDER_REMEDIES
) -> list[DataFinding]:
    """Return warnings of groups in several splits, and of images that no group names."""
    found = []
    where: dict[str, set[str]] = defaultdict(set)
    for split, images in splits.items():
        grouped = [image for image in images if image.entry.group != image.entry.identifier]
        for image in grouped:
            where[image.entry.group].add(split)
        if grouped and len(grouped) < len(images):
            lone = [image for image in images if image.entry.group == image.entry.identifier]
            found.append(
                DataFinding.counted(
                    FindingKind.GROUPS,
                    Severity.WARNING,
                    f"images without {remedies.lacking}, where {len(grouped):,} others have one; "
                    f"each counts as a group of its own; {remedies.groups}",
                    [place_of(image, split) for image in lone],
                    split,
                )
            )
    shared = sorted(group for group, splits_of in where.items() if len(splits_of) > 1)
    if shared:
        found.append(
            DataFinding.counted(
                FindingKind.GROUPS,
                Severity.WARNING,
                f"{SHARED_GROUPS}, so that what is tuned and tested on is not "
                "independent of what is trained on; `wsss data import --split` splits by group",
                shared,
            )
        )
    return found
