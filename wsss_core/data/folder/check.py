"""The content of a data folder in numbers and as a table, with warnings of likely mistakes."""

import math
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder.layout import CLEAR, ListedImage
from wsss_core.data.image_decoding import image_shape
from wsss_core.data.image_set import IGNORED, ImageSet, ImageSource
from wsss_core.data.mask_decoding import read_mask_values

_DECODED = 16  # the side images are reduced to: large enough to be decoded whole, small to hold
_SHOWN_WARNINGS = 10


class _Folder(ImageSource, Protocol):
    @property
    def root(self) -> Path: ...


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
        splits: split -> its figures.
        warnings: one line each, on what can be read but may not be meant.

    """

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSummary]
    warnings: tuple[str, ...]

    def describe(self) -> str:
        """Return the figures as a plain-text table with the warnings below."""
        header = ["split", "images", *self.classes, CLEAR, "width", "height"]
        header += [f"{name} pixels" for name in self.classes] + ["fingerprint"]
        rows = [header]
        for split, figures in self.splits.items():
            share = figures.mask_share
            rows.append(
                [split, str(figures.images)]
                + [str(figures.with_class[name]) for name in self.classes]
                + [str(figures.clear)]
                + [_range(*ends) for ends in zip(figures.smallest, figures.largest, strict=True)]
                + [_percent(share[name]) if share else "-" for name in self.classes]
                + [figures.fingerprint]
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = [f"{self.root}: {', '.join(self.classes)}", ""]
        for row in rows:
            cells = zip(row, widths, strict=True)
            lines.append("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
        if self.warnings:
            lines += ["", *(f"warning: {line}" for line in self.warnings[:_SHOWN_WARNINGS])]
            if len(self.warnings) > _SHOWN_WARNINGS:
                lines.append(f"warning: and {len(self.warnings) - _SHOWN_WARNINGS} more")
        return "\n".join(lines)


def summarise_folder(
    source: _Folder, listed: Mapping[str, list[ListedImage]], *, counts_every_value: bool
) -> DataSummary:
    """Read every file of a data folder and return what it holds.

    Args:
        source: the data folder.
        listed: split -> its images, for every split.
        counts_every_value: whether every mask value above 0 is the class, so that a mask with
            several of them deserves a warning.

    Raises:
        InputError: the first thing that is wrong, split by split.

    """
    splits = {}
    warnings = []
    for split, entries in listed.items():
        fingerprint = source.fingerprint(split)  # taken first, so that `read` compares with it
        image_set = source.read(split, _DECODED)
        splits[split] = _figures(image_set, entries, fingerprint)
        warnings += _split_warnings(f"{split}/", image_set, entries)
        if counts_every_value:
            warnings += _value_warnings(f"{split}/", image_set.classes[0], entries)
    return DataSummary(
        source.root, source.classes, splits, (*warnings, *_duplicate_warnings(listed))
    )


def _figures(image_set: ImageSet, entries: list[ListedImage], fingerprint: str) -> SplitSummary:
    with ThreadPoolExecutor() as pool:
        shapes = np.array(list(pool.map(image_shape, (entry.image for entry in entries))))
    smallest, largest = shapes.min(axis=0), shapes.max(axis=0)
    counts = image_set.labels.sum(axis=0)
    return SplitSummary(
        images=len(image_set),
        with_class=dict(zip(image_set.classes, counts.tolist(), strict=True)),
        clear=int((~image_set.labels.any(axis=1)).sum()),
        smallest=(int(smallest[1]), int(smallest[0])),
        largest=(int(largest[1]), int(largest[0])),
        mask_share=_mask_share(image_set) if image_set.has_masks else None,
        fingerprint=fingerprint,
    )


def _mask_share(image_set: ImageSet) -> dict[str, float]:
    inside = np.zeros(len(image_set.classes))
    counted = np.zeros(len(image_set.classes))
    for index, held in enumerate(image_set.labels):
        if held.any():
            pixels = np.bincount(image_set.mask(index).ravel(), minlength=IGNORED + 1)
            inside += pixels[1 : len(held) + 1]
            counted[held] += pixels[:IGNORED].sum()
    with np.errstate(invalid="ignore"):
        return dict(zip(image_set.classes, (inside / counted).tolist(), strict=True))


def _split_warnings(place: str, image_set: ImageSet, entries: list[ListedImage]) -> list[str]:
    if not image_set.has_masks:
        return []
    per_class = image_set.labels.sum(axis=0).tolist()
    per_image = image_set.labels.sum(axis=1).tolist()
    warnings = [
        f"{place}masks: no mask holds {name}"
        for name, count in zip(image_set.classes, per_class, strict=True)
        if count == 0
    ]
    empty = [
        entry.identifier
        for entry, count in zip(entries, per_image, strict=True)
        if entry.mask is not None and count == 0
    ]
    if empty:
        warnings.append(
            f"{place}{empty[0]}: empty mask, so it counts as {CLEAR} ({len(empty)} such)"
        )
    return warnings


def _value_warnings(place: str, name: str, entries: list[ListedImage]) -> list[str]:
    masked = [entry for entry in entries if entry.mask is not None]
    with ThreadPoolExecutor() as pool:
        several = list(pool.map(_has_several_values, masked))
    found = [entry for entry, is_so in zip(masked, several, strict=True) if is_so]
    if not found or found[0].mask is None:
        return []
    return [
        f"{place}masks/{found[0].mask.name}: several values above 0, all taken as {name} "
        f"({len(found)} such); if 255 means ignored, add classes.yaml"
    ]


def _has_several_values(entry: ListedImage) -> bool:
    if entry.mask is None:
        return False
    values = read_mask_values(entry.mask)
    above = values[values > 0]
    return above.size > 0 and bool(above.min() != above.max())


def _duplicate_warnings(listed: Mapping[str, list[ListedImage]]) -> list[str]:
    """Find files of equal bytes that lie in two splits, or under two classes of train."""
    places: dict[str, list[tuple[str, tuple[int, ...], str]]] = defaultdict(list)
    for split, entries in listed.items():
        hashes = file_hashes([entry.image for entry in entries])
        for entry, digest in zip(entries, hashes, strict=True):
            places[digest].append((split, entry.train_classes, f"{split}/{entry.identifier}"))
    warnings = []
    for same in places.values():
        names = ", ".join(name for _, _, name in same)
        if len({split for split, _, _ in same}) > 1:
            warnings.append(f"the same image in several splits: {names}")
        elif len({label for _, label, _ in same}) > 1:
            warnings.append(f"the same image under several labels: {names}")
    return warnings


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
