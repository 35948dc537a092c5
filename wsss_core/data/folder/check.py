"""The content of a data folder in numbers and as a table, with all that was found in one pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss_core.data.folder.class_list import FolderClasses
from wsss_core.data.folder.copy_findings import copy_findings
from wsss_core.data.folder.examination import ExaminedImage
from wsss_core.data.folder.findings import (
    FOLDER_REMEDIES,
    DataFinding,
    DataFindings,
    FindingKind,
    Remedies,
    Severity,
)
from wsss_core.data.folder.label_findings import (
    group_findings,
    label_findings,
    missing_classes,
    picture_findings,
)
from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.folder.mask_findings import mask_findings
from wsss_core.data.folder.value_findings import value_findings
from wsss_core.data.pixel_rules import PixelRules

USUAL_SIZE = 224
"""The side in pixels of the network's input, unless a study says otherwise."""

_WIDEST = 140  # characters of a table; with more classes, each has a line


@dataclass(frozen=True)
class SplitSummary:
    """The figures of one split.

    Attributes:
        images: how many there are.
        with_class: class -> how many images hold it.
        clear: how many images hold no class.
        smallest: the smallest width and the smallest height, in pixels.
        largest: the largest width and the largest height, in pixels.
        mask_share: class -> share of mask pixels, in [0, 1], over the images that hold the class
            and without ignored pixels; NaN where no image does. None for a split without masks.
        fingerprint: the split's digest.

    """

    images: int
    with_class: Mapping[str, int]
    clear: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    mask_share: Mapping[str, float] | None
    fingerprint: str


@dataclass(frozen=True)
class DataSummary:
    """The content of a data folder.

    Attributes:
        root: the data folder.
        classes: its foreground classes.
        splits: split -> its figures, of the splits that can be used.
        findings: all that is wrong, may not be meant, or should be known.

    """

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSummary]
    findings: DataFindings

    def describe(self) -> str:
        """Return the figures as a plain-text table, with the findings below, one a line."""
        lines = [f"{self.root}: {', '.join(self.classes)}", "", *self._table()]
        if self.findings:
            lines += ["", f"{self.findings.tally()}:", *self.findings.lines()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        figures = ["split", "images", *self.classes, CLEAR, "width", "height"]
        rows = [[*figures, *(f"{name} pixels" for name in self.classes), "fingerprint"]]
        for split, found in self.splits.items():
            rows.append(
                [split, str(found.images)]
                + [str(found.with_class[name]) for name in self.classes]
                + [str(found.clear), *_sides(found)]
                + [_share_of(found, name) for name in self.classes]
                + [found.fingerprint]
            )
        lines = _aligned(rows)
        if max(map(len, lines)) <= _WIDEST:
            return lines
        narrow = [["split", "images", CLEAR, "width", "height", "fingerprint"]]
        per_class = [["class", *(f"{split} {what}" for split in self.splits for what in
                                 ("images", "pixels"))]]  # fmt: skip
        for split, found in self.splits.items():
            figures = [split, str(found.images), str(found.clear), *_sides(found)]
            narrow.append([*figures, found.fingerprint])
        for name in self.classes:
            per_class.append(
                [name]
                + [
                    cell
                    for found in self.splits.values()
                    for cell in (str(found.with_class[name]), _share_of(found, name))
                ]
            )
        return [*_aligned(narrow), "", *_aligned(per_class)]


def summarise_images(
    root: Path,
    classes: FolderClasses,
    splits: Mapping[str, Sequence[ExaminedImage]],
    fingerprints: Mapping[str, str],
    faults: Sequence[DataFinding],
    *,
    size: int,
    rules: PixelRules,
    remedies: Remedies = FOLDER_REMEDIES,
) -> DataSummary:
    """Return figures and findings of images that were examined.

    Args:
        root: the data folder.
        classes: its classes.
        splits: split -> its images that can be used.
        fingerprints: split -> its digest, of the splits of which every file can be used.
        faults: what was found before: files that cannot be used, files that were passed over.
        size: the side of the network's input in pixels.
        rules: how pixels are read.
        remedies: what a user does about findings.

    """
    names = classes.names
    findings = list(faults)
    summaries = {}
    for split, images in splits.items():
        if not images:
            continue
        labels = labels_of(images, len(names))
        if split in fingerprints:
            summaries[split] = _figures(images, labels, names, fingerprints[split])
            findings += missing_labels(root, classes, images, labels, split, remedies)
        findings += label_findings(labels, names, split)
        findings += picture_findings(images, split, rules)
        findings += value_findings(images, classes, split)
        findings += mask_findings(images, names, split, size, remedies)
    findings += group_findings(splits, remedies)
    findings += copy_findings(splits, names, remedies)
    return DataSummary(root, names, summaries, DataFindings.of(findings))


def labels_of(images: Sequence[ExaminedImage], classes: int) -> np.ndarray:
    """Return bool [N, K]: which of the K classes each image holds."""
    labels = np.zeros((len(images), classes), np.bool_)
    for row, image in zip(labels, images, strict=True):
        row[list(image.held(classes))] = True
    return labels


def missing_labels(
    root: Path,
    classes: FolderClasses,
    images: Sequence[ExaminedImage],
    labels: np.ndarray,
    split: str,
    remedies: Remedies = FOLDER_REMEDIES,
) -> list[DataFinding]:
    """Return faults of classes that no image of a split holds, or one where none holds any."""
    if split == "train" or labels.any():
        return missing_classes(labels, classes.names, split)
    folder = root / split / "masks"
    expected = f"expected at least one with {' or '.join(classes.names)}"
    masks = [image.mask for image in images if image.mask is not None]
    ignored = [mask for mask in masks if mask.ignored]
    text = f"every mask is empty, {expected}"
    cut = classes.threshold
    values = {value for mask in masks for value in mask.stored} - {*classes.ignored}
    largest = max(values, default=0)
    if cut is not None and largest:
        text = f"no mask reaches the threshold {cut}, the largest value is {largest}, {expected}"
    if ignored:
        void = sorted({v for one in ignored for v in one.stored if v in classes.ignored})
        listed = classes.mask_values is not None  # otherwise `ignore` names it
        remedy = remedies.values if listed else "leave it out of `ignore` in classes.yaml"
        text = (
            f"all objects have the value {', '.join(map(str, void))}, which is ignored "
            f"({len(ignored)} of {len(masks)} masks), {expected}; {remedy} if it is a class"
        )
        if remedies is FOLDER_REMEDIES and listed:
            text += f", e.g. `classes: {{{void[0]}: {classes.names[0]}}}`"
    return [DataFinding(FindingKind.LABELS, Severity.REFUSED, text, examples=(str(folder),))]


def _figures(
    images: Sequence[ExaminedImage], labels: np.ndarray, classes: tuple[str, ...], fingerprint: str
) -> SplitSummary:
    shapes = np.array([image.picture.shape for image in images])
    smallest, largest = shapes.min(axis=0), shapes.max(axis=0)
    masked = any(image.mask is not None for image in images)
    return SplitSummary(
        images=len(images),
        with_class=dict(zip(classes, labels.sum(axis=0).tolist(), strict=True)),
        clear=int((~labels.any(axis=1)).sum()),
        smallest=(int(smallest[1]), int(smallest[0])),
        largest=(int(largest[1]), int(largest[0])),
        mask_share=_mask_share(images, classes) if masked else None,
        fingerprint=fingerprint,
    )


def _mask_share(images: Sequence[ExaminedImage], classes: tuple[str, ...]) -> dict[str, float]:
    inside = np.zeros(len(classes))
    counted = np.zeros(len(classes))
    for image in images:
        if image.mask is None or not image.mask.objects:
            continue
        pixels = sum(image.mask.codes.values()) - image.mask.ignored
        for index in image.held(len(classes)):
            inside[index] += image.mask.codes[index + 1]
            counted[index] += pixels
    with np.errstate(invalid="ignore"):
        return dict(zip(classes, (inside / counted).tolist(), strict=True))


def _sides(found: SplitSummary) -> list[str]:
    return [_range(*ends) for ends in zip(found.smallest, found.largest, strict=True)]


def _share_of(found: SplitSummary, name: str) -> str:
    return _percent(found.mask_share[name]) if found.mask_share else "-"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
