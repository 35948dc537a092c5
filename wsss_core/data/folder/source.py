"""A data set of image and mask files in a folder, laid out as `layout` describes."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder import training_masks as own_masks
from wsss_core.data.folder.check import (
    USUAL_SIZE,
    DataSummary,
    labels_of,
    missing_labels,
    summarise_images,
)
from wsss_core.data.folder.class_list import cut_at
from wsss_core.data.folder.examination import (
    Examination,
    ExaminedImage,
    collected_errors,
    examine_entries,
)
from wsss_core.data.folder.findings import DataFinding, DataFindings, FindingKind, Severity
from wsss_core.data.folder.layout import LABELS, ListedImage, find_classes
from wsss_core.data.folder.listing import list_split, listing_of, root_findings
from wsss_core.data.folder.origins import flags_of, read_flags
from wsss_core.data.folder.training_masks import TrainingMask
from wsss_core.data.image_decoding import PictureFile, exif_orientation, image_readers, image_shapes
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, PixelMaps
from wsss_core.data.mask_decoding import MaskMeaning, decode_mask
from wsss_core.data.outline import SplitOutline
from wsss_core.data.pixel_rules import USUAL_RULES, PixelRules
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, as_input_error, checked_path


class FolderSource:
    """The splits of a data folder, as an `ImageSource`; for the layout see `layout`.

    Args:
        root: the data folder.
        rules: how the pixels of its files are read.
        threshold: the least mask value that is object, for a single class; None: that of
            `classes.yaml`, if there is one.

    Raises:
        InputError: there is no such folder, its classes are not clear, or the threshold does not
            fit them.

    """

    def __init__(
        self, root: Path, rules: PixelRules = USUAL_RULES, threshold: int | None = None
    ) -> None:
        self.root = checked_path(root)
        self.rules = rules
        self._classes = find_classes(self.root)
        if threshold is not None:
            self._classes = cut_at(self._classes, threshold, self.root)
        # Of each split the digest of every file, by path, and the fingerprint that was given.
        self._taken: dict[str, tuple[dict[Path, str], str]] = {}
        # Of each split that was read what its one pass over the files found.
        self._examined: dict[str, list[ExaminedImage]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes, in the order of their mask values."""
        return self._classes.names

    @property
    def mask_values(self) -> tuple[int, ...] | None:
        """Return the mask value of each class; None where every value above 0 is the class."""
        return self._classes.mask_values

    @property
    def meaning(self) -> MaskMeaning:
        """Return what the values of masks mean."""
        return self._classes.meaning

    def images(self, split: str) -> list[ListedImage]:
        """Return the images of a split and their files, sorted by identifier; opens none.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        return list_split(self.root, split, self._classes)

    def decode(self, mask: Path) -> np.ndarray:
        """Decode a mask or context mask: 0 background, k + 1 class k, 255 ignored, [h, w]."""
        file = PictureFile.read(mask, self.rules)
        return decode_mask(file, self._classes.meaning, self.rules, scored=False).codes

    def shapes(self, split: str) -> list[tuple[int, int]]:
        """Return (height, width) of each image of a split, from its header alone."""
        return image_shapes([entry.image for entry in self.images(split)], self.rules)

    def pictures(self, split: str) -> list[Callable[[], np.ndarray]]:
        """Return for each image of a split what decodes it, to uint8 [h, w, 3] of its own size."""
        return image_readers([entry.image for entry in self.images(split)], self.rules)

    def outline(self, split: str) -> SplitOutline:
        """Return names, origins and labels of a split's images; decodes its masks alone.

        Raises:
            InputError: a folder is missing or empty, files do not belong together, or the first
                bad mask.

        """
        entries = self.images(split)
        labels = np.zeros((len(entries), len(self.classes)), np.bool_)

        def look(index: int) -> None:
            entry = entries[index]
            labels[index, list(entry.train_classes)] = True
            if entry.mask is not None:
                present = np.bincount(self.decode(entry.mask).ravel(), minlength=IGNORED + 1) > 0
                labels[index] = present[1 : len(self.classes) + 1]

        with ThreadPoolExecutor() as pool:
            list(pool.map(look, range(len(entries))))
        return SplitOutline(
            tuple(entry.identifier for entry in entries),
            tuple(entry.group for entry in entries),
            labels,
            tuple(entry.source for entry in entries),
            tuple(entry.camera for entry in entries),
        )

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes and names of the split's images, masks and context masks, the classes,
        what mask values mean where there are masks, groups, sources and cameras, flags of tune and
        test, which files are turned upright, and the white level of 16-bit images. Masks of
        training images, where the data folder lies, dates and unrelated files do not matter.

        Raises:
            InputError: a folder is missing or empty, or files do not belong together.

        """
        entries = self.images(split)
        files = [path for entry in entries for path in _files(entry)]
        digests = dict(zip(files, file_hashes(files), strict=True))
        taken = self._fingerprint(split, entries, digests)
        self._taken[split] = digests, taken
        return taken

    def _fingerprint(
        self,
        split: str,
        entries: list[ListedImage],
        digests: Mapping[Path, str],
        examined: Sequence[ExaminedImage] | None = None,
    ) -> str:
        folder = self.root / split
        content: dict[str, object] = {
            "classes": self.classes,
            "mask_values": None if split == "train" else self._classes.mask_values,
            "files": sorted(
                (path.relative_to(folder).as_posix(), digest) for path, digest in digests.items()
            ),
            "groups": [
                (entry.identifier, entry.group)
                for entry in entries
                if entry.group != entry.identifier
            ],
        }
        if any(entry.source or entry.camera for entry in entries):
            content["origins"] = [(e.identifier, e.source, e.camera) for e in entries]
        if split != "train":
            content |= self._classes.unusual
            if any(flags := self._flags(split, entries)):
                content["flags"] = flags
        if turned := self._turned(digests, examined):
            content["turned"] = [path.relative_to(folder).as_posix() for path in turned]
        if self.rules.white_level is not None:
            content["white_level"] = self.rules.white_level
        if (folder / LABELS).exists():
            # Class folders show in the names of the files, lines of a table do not.
            content["labels"] = [(entry.identifier, entry.train_classes) for entry in entries]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def read(self, split: str, size: int) -> ImageSet:
        """Decode a split: images of size x size pixels, masks at their own resolution.

        The label of a training image is its folder or its line in labels.csv, that of the others
        what their mask holds.
        Full-size images are held only while they are being decoded, one per thread. Every file is
        read once; its digest and its pixels are of the same bytes. They are compared with the
        fingerprint that was given last.

        Raises:
            InputError: the first bad file by identifier: sizes that differ, then unreadable
                files and mask values; or a file that changed since the fingerprint was taken.

        """
        if size < 1:
            raise ValueError(f"size {size}, expected at least 1 pixel")
        entries = self.images(split)
        little = f"{self.root / split}: there is too little memory for its {len(entries)} images"
        with as_input_error(little, MemoryError):
            images = np.empty((len(entries), size, size, 3), np.uint8)
            found: list[ExaminedImage] = []
            masks: list[np.ndarray | None] = []
            contexts: list[np.ndarray | None] = []
            errors: list[InputError] = []
            digests: dict[Path, str] = {}
            for image, one in zip(images, self._examined_in(split, entries, size), strict=True):
                digests |= one.digests
                errors += one.errors
                if one.facts is not None and one.pixels is not None:
                    found.append(one.facts)
                    image[...] = one.pixels.image
                    masks.append(one.pixels.mask)
                    contexts.append(one.pixels.context)
            self._check_unchanged(split, entries, digests)
            self._raise(collected_errors(errors))
            labels = labels_of(found, len(self.classes))
            if split != "train" and not labels.any():
                self._raise(missing_labels(self.root, self._classes, found, labels, split))
            shapes = [one.picture.shape for one in found]
            known = _packed(contexts, shapes) if any(c is not None for c in contexts) else None
            packed = None if split == "train" else _packed(masks, shapes)
        self._examined[split] = found
        return ImageSet(
            classes=self.classes,
            images=images,
            labels=labels,
            identifiers=tuple(entry.identifier for entry in entries),
            groups=tuple(entry.group for entry in entries),
            sources=tuple(entry.source for entry in entries),
            cameras=tuple(entry.camera for entry in entries),
            flags=self._flags(split, entries),
            masks=packed,
            contexts=known,
        )

    def _flags(self, split: str, entries: Sequence[ListedImage]) -> tuple[str, ...]:
        return flags_of(self.root, split, [entry.identifier for entry in entries])

    def _examined_in(
        self, split: str, entries: list[ListedImage], size: int | None = None
    ) -> Iterator[Examination]:
        progress = ProgressLines(f"{split}: images checked", len(entries))
        meaning = self._classes.meaning
        return examine_entries(entries, meaning, self.rules, size=size, progress=progress)

    def _raise(self, faults: Iterable[DataFinding]) -> None:
        DataFindings.of(faults).raise_refused(f"wsss data check {self.root}")

    def _turned(
        self, files: Iterable[Path], examined: Sequence[ExaminedImage] | None
    ) -> list[Path]:
        """Return the files that the rules turn upright, sorted; open none that were examined."""
        if self.rules.orientation != "apply":
            return []
        if examined is not None:
            seen = [facts for one in examined for facts in (one.picture, *one.masks_and_contexts)]
            return sorted(facts.path for facts in seen if facts.turned)
        images = sorted(path for path in files if path.suffix.lower() != ".npy")
        with ThreadPoolExecutor() as pool:
            found = pool.map(exif_orientation, images)
            return [path for path, tag in zip(images, found, strict=True) if tag != 1]

    def _check_unchanged(
        self, split: str, entries: list[ListedImage], digests: Mapping[Path, str]
    ) -> None:
        """Raise unless what was read has the fingerprint that was given before, if one was."""
        if split not in self._taken:
            return
        before, fingerprint = self._taken[split]
        if self._fingerprint(split, entries, digests) == fingerprint:
            return
        changed = [path for path, digest in digests.items() if before.get(path) != digest]
        changed += [path for path in before if path not in digests]
        raise InputError(
            f"{changed[0] if changed else self.root / split}: changed while it was read; run again "
            "when nothing writes to the data folder"
        )

    def training_masks(self, size: int | None = None) -> dict[str, TrainingMask]:
        """Return identifier -> mask of the training images that have one, sorted by identifier.

        Args:
            size: the side of the decoded masks in pixels; None: their own height and width.

        Raises:
            InputError: a mask has no image, or another size than its image.

        """
        meaning, rules = self._classes.meaning, self.rules

        def decode(file: PictureFile) -> np.ndarray:
            return decode_mask(file, meaning, rules, scored=False).codes

        images = self.images("train")
        return own_masks.open_training_masks(
            self.root / "train", images, self._classes, decode, size, rules
        )

    def training_masks_fingerprint(self) -> str:
        """Return a digest of the masks of training images and of what their values mean."""
        meaning: list[object] = [self.classes, self.mask_values, self._classes.unusual]
        meaning += [self.rules.orientation, self.rules.white_level]
        return own_masks.fingerprint_of_masks(self.training_masks(), meaning)

    def check(self, size: int = USUAL_SIZE) -> DataSummary:
        """Read every file once, describe it, and say what may not be meant.

        Args:
            size: the side of the network's input in pixels.

        Raises:
            InputError: the data cannot be used.

        """
        summary = self.examine(size)
        self._raise(summary.findings)
        return summary

    def examine(self, size: int = USUAL_SIZE) -> DataSummary:
        """Describe the data folder as `check` does; what is wrong is among the findings.

        Splits that were read already are not opened again.

        Args:
            size: the side of the network's input in pixels.

        """
        faults = root_findings(self.root)
        examined: dict[str, list[ExaminedImage]] = {}
        fingerprints: dict[str, str] = {}
        for split in SPLITS:
            listing = listing_of(self.root, split, self._classes)
            faults += listing.findings
            if split not in self._examined:
                found = list(self._examined_in(split, listing.images))
                faults += collected_errors([error for one in found for error in one.errors])
                examined[split] = [one.facts for one in found if one.facts is not None]
            else:
                examined[split] = self._examined[split]
            refused = any(one.severity is Severity.REFUSED for one in listing.findings)
            faults += [] if refused else self._flag_findings(split, listing.images)
            if examined[split] and not refused and len(examined[split]) == len(listing.images):
                digests = {f: d for one in examined[split] for f, d in one.digests.items()}
                fingerprints[split] = self._fingerprint(
                    split, listing.images, digests, examined[split]
                )
        try:
            self.training_masks()
        except InputError as error:
            if not any(one.severity is Severity.REFUSED for one in faults):
                faults.append(DataFinding(FindingKind.LAYOUT, Severity.REFUSED, str(error)))
        return summarise_images(
            self.root,
            self._classes,
            examined,
            fingerprints,
            faults,
            size=size,
            rules=self.rules,
        )

    def _flag_findings(self, split: str, images: Sequence[ListedImage]) -> list[DataFinding]:
        """Return a warning of flags that cannot be read, which so no image has any."""
        try:
            read_flags(self.root, split, {image.identifier for image in images})
        except InputError as error:
            text = f"{error}; `wsss data describe` refuses it, and studies leave flags out"
            return [DataFinding(FindingKind.LABELS, Severity.WARNING, text)]
        return []


def _packed(maps: list[np.ndarray | None], shapes: Sequence[tuple[int, int]]) -> PixelMaps:
    """Move maps, which are given up one after another, into one array."""
    packed = PixelMaps.allocate(shapes, [one is not None for one in maps])
    for index, one in enumerate(maps):
        view = packed[index]
        if view is not None:
            view[...] = one
        maps[index] = None
    return packed


def _files(entry: ListedImage) -> Iterator[Path]:
    """Yield the files of an image: itself, its mask, its context mask."""
    for path in (entry.image, entry.mask, entry.context):
        if path is not None:
            yield path
