"""Published data sets read where they lie, as an import would write them, without the copy."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.folder.check import USUAL_SIZE, DataSummary, labels_of, summarise_images
from wsss_core.data.folder.class_list import FolderClasses
from wsss_core.data.folder.examination import ExaminedImage, collected_errors
from wsss_core.data.folder.findings import (
    PUBLISHED_REMEDIES,
    DataFinding,
    DataFindings,
    FindingKind,
    Severity,
)
from wsss_core.data.folder.training_masks import TrainingMask
from wsss_core.data.formats import Picture
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, PixelMaps
from wsss_core.data.importing.decoding import (
    DecodedTarget,
    TargetDigests,
    decode_target,
    identifier_of,
    is_scored,
    pixel_digest,
)
from wsss_core.data.importing.planning import PlannedImport, plan_import
from wsss_core.data.importing.settings import ImportSettings
from wsss_core.data.importing.writing import Target
from wsss_core.data.outline import SplitOutline
from wsss_core.data.pixel_rules import AS_STORED
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, as_input_error


class PublishedSource:
    """The splits of one or several published data sets, as an `ImageSource`.

    The sets go through the readers and the plan of `wsss_core.data.importing.import_data`, so each
    split equals that of the data folder which the import writes. Frames of clips and windows of
    images are decoded when a split is read.

    Args:
        settings: sources and options; its destination is not used.

    Raises:
        InputError: a source is not recognised or cannot be read, or options do not fit it.

    """

    def __init__(self, settings: ImportSettings) -> None:
        self.settings = settings
        try:
            self.plan: PlannedImport = plan_import(settings)
        except InputError as error:
            raise InputError(said_of_keys(str(error))) from error
        # Of each split what every image was made of when the fingerprint was taken.
        self._taken: dict[str, list[TargetDigests]] = {}
        # Of each split that was read what its decoding found.
        self._examined: dict[str, list[ExaminedImage]] = {}

    @property
    def root(self) -> Path:
        """The path of the first source."""
        return self.settings.sources[0].path

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the foreground classes, in the order of their mask codes."""
        return self.plan.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was left out or read otherwise than it may be meant, a line each."""
        return tuple(map(said_of_keys, self.plan.notes))

    @cached_property
    def _targets(self) -> Mapping[str, Sequence[Target]]:
        targets = sorted(self.plan.targets, key=identifier_of)
        return {s: [t for t in targets if t.examined.split == s] for s in SPLITS}

    def images(self, split: str) -> Sequence[Target]:
        """Return the images of a split, sorted by identifier.

        Raises:
            ValueError: `split` is not one of SPLITS.

        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r}, expected one of {', '.join(SPLITS)}")
        return self._targets[split]

    def shapes(self, split: str) -> list[tuple[int, int]]:
        """Return (height, width) of each image of a split; frames of clips are decoded for it."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda one: _picture(one).shape(), self.images(split)))

    def pictures(self, split: str) -> list[Callable[[], np.ndarray]]:
        """Return for each image of a split what decodes it, to uint8 [h, w, 3] of its own size."""
        return [_picture(target).read for target in self.images(split)]

    def outline(self, split: str) -> SplitOutline:
        """Return names, origins and labels of a split's images; opens no file."""
        targets = self.images(split)
        labels = np.zeros((len(targets), len(self.classes)), np.bool_)
        for row, target in zip(labels, targets, strict=True):
            row[[code - 1 for code in target.examined.held]] = True
        candidates = [target.examined.candidate for target in targets]
        return SplitOutline(
            tuple(map(identifier_of, targets)),
            tuple(candidate.group for candidate in candidates),
            labels,
            tuple(candidate.origin for candidate in candidates),
            tuple(candidate.image.camera or "" for candidate in candidates),
        )

    def training_masks(self, size: int | None = None) -> dict[str, TrainingMask]:
        """Return identifier -> mask of the training images that have one, sorted by identifier.

        Args:
            size: the side of the decoded masks in pixels; None: their own height and width.

        """
        return {
            identifier_of(target): TrainingMask(
                identifier_of(target),
                target.examined.candidate.image.picture.path,
                target.read_mask,
                size,
            )
            for target in self.images("train")
            if target.mask is not None
        }

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes of image files, the pixels of frames, masks and context masks, names,
        labels, groups, sources and cameras; of tune and test also flags. Where the files lie does
        not matter, nor what else is in them.

        Raises:
            InputError: an image or mask cannot be read.

        """
        targets = self.images(split)
        pictures = [target.examined.candidate.image.picture for target in targets]
        whole = list(dict.fromkeys(p.path for p in pictures if p.frame is None))
        of_file = dict(zip(whole, file_hashes(whole), strict=True))
        progress = ProgressLines(f"{split}: digests of frames and masks", len(targets))

        def digests(target: Target) -> TargetDigests:
            picture = target.examined.candidate.image.picture
            found = TargetDigests(
                of_file[picture.path] if picture.frame is None else pixel_digest(picture.read()),
                pixel_digest(target.read_mask()) if is_scored(target) else None,
                pixel_digest(target.read_context()) if target.context is not None else None,
            )
            progress.step()
            return found

        with ThreadPoolExecutor() as pool:
            found = list(pool.map(digests, targets))
        self._taken[split] = found
        return self._fingerprint(split, found)

    def _fingerprint(self, split: str, digests: Sequence[TargetDigests]) -> str:
        lines = []
        for target, made_of in zip(self.images(split), digests, strict=True):
            candidate = target.examined.candidate
            picture = candidate.image.picture
            window = picture.window
            lines.append(
                [
                    *(identifier_of(target), candidate.group, candidate.origin),
                    *(candidate.image.camera, made_of.picture, made_of.mask, picture.upright),
                    [window.top, window.left, window.height, window.width] if window else None,
                    target.examined.held if split == "train" else None,
                    *([] if made_of.context is None else [made_of.context]),
                ]
            )
        # Masks and flags of training images take no part in training.
        flags = self._flags(split) if split != "train" else []
        content = json.dumps(["published", self.classes, lines, *([flags] if any(flags) else [])])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def read(self, split: str, size: int) -> ImageSet:
        """Decode a split: images of size x size pixels, masks at their own resolution.

        Raises:
            InputError: a file cannot be read, or changed since the fingerprint was taken.

        """
        if size < 1:
            raise ValueError(f"size {size}, expected at least 1 pixel")
        targets = self.images(split)
        little = f"{self.root}: there is too little memory for the {len(targets)} images of {split}"
        with as_input_error(little, MemoryError):
            images = np.empty((len(targets), size, size, 3), np.uint8)
            codes: list[np.ndarray | None] = []
            contexts: list[np.ndarray | None] = []
            digests: list[TargetDigests] = []
            examined: list[ExaminedImage] = []
            faults: list[InputError] = []
            for image, found in zip(images, self._decoded(split, size), strict=True):
                if isinstance(found, InputError):
                    faults.append(found)
                    continue
                assert found.pixels is not None
                image[...] = found.pixels
                codes.append(found.codes)
                contexts.append(found.context)
                digests.append(found.digests)
                examined.append(found.facts)
            DataFindings.of(collected_errors(faults)).raise_refused()
            self._check_unchanged(split, digests)
            labels = labels_of(examined, len(self.classes))
            masks = known = None
            shapes = [facts.picture.shape for facts in examined]
            if split != "train":
                masks = PixelMaps.from_arrays(codes, shapes)
            if any(context is not None for context in contexts):
                known = PixelMaps.from_arrays(contexts, shapes)
        if split != "train" and not labels.any():
            raise InputError(
                f"{self.root}: every mask of {split} is empty, expected at least one with "
                f"{' or '.join(self.classes)}"
            )
        self._examined[split] = examined
        entries = [facts.entry for facts in examined]
        return ImageSet(
            classes=self.classes,
            images=images,
            labels=labels,
            identifiers=tuple(entry.identifier for entry in entries),
            groups=tuple(entry.group for entry in entries),
            masks=masks,
            contexts=known,
            sources=tuple(entry.source for entry in entries),
            cameras=tuple(entry.camera for entry in entries),
            flags=tuple(self._flags(split)),
        )

    def _flags(self, split: str) -> list[str]:
        """Return the flags of each image, separated by ";"."""
        candidates = [target.examined.candidate for target in self.images(split)]
        return [";".join(sorted(candidate.image.flags)) for candidate in candidates]

    def _decoded(self, split: str, size: int | None) -> Iterator[DecodedTarget | InputError]:
        """Decode the images of a split in order, several at a time; give errors as values."""
        targets = self.images(split)
        progress = ProgressLines(f"{split}: images checked", len(targets))

        def decode(target: Target) -> DecodedTarget | InputError:
            try:
                return decode_target(target, size)
            except InputError as error:
                return error
            finally:
                progress.step()

        with ThreadPoolExecutor() as pool:
            yield from pool.map(decode, targets)

    def _check_unchanged(self, split: str, digests: list[TargetDigests]) -> None:
        """Raise unless what was read has the fingerprint that was given before, if one was."""
        for target, old, new in zip(
            self.images(split), self._taken.get(split, digests), digests, strict=True
        ):
            if old != new:
                path = target.examined.candidate.image.picture.path
                raise InputError(
                    f"{path}: it or its mask changed while it was read; run again when nothing "
                    "writes to the data set"
                )

    def check(self, size: int = USUAL_SIZE) -> DataSummary:
        """Read every image once, describe the set, and say what may not be meant.

        Args:
            size: the side of the network's input in pixels.

        Raises:
            InputError: the data cannot be used.

        """
        summary = self.examine(size)
        summary.findings.raise_refused()
        return summary

    def examine(self, size: int = USUAL_SIZE) -> DataSummary:
        """Describe the set as `check` does; what is wrong is among the findings.

        Splits that were read already are not opened again.

        Args:
            size: the side of the network's input in pixels.

        """
        found = [DataFinding(FindingKind.SOURCES, Severity.NOTE, note) for note in self.notes]
        fingerprints = {}
        for split in SPLITS:
            if split not in self._examined:
                decoded = list(self._decoded(split, None))
                found += collected_errors([e for e in decoded if isinstance(e, InputError)])
                self._examined[split] = [d.facts for d in decoded if isinstance(d, DecodedTarget)]
            if len(self._examined[split]) == len(self.images(split)):
                fingerprints[split] = self.fingerprint(split)
        classes = FolderClasses(self.classes, tuple(range(1, len(self.classes) + 1)), (IGNORED,))
        return summarise_images(
            self.root,
            classes,
            self._examined,
            fingerprints,
            found,
            size=size,
            rules=AS_STORED,
            remedies=PUBLISHED_REMEDIES,
        )


def _picture(target: Target) -> Picture:
    picture: Picture = target.examined.candidate.image.picture
    return picture


def said_of_keys(line: str) -> str:
    """Return a message of an import that names keys of a study file in place of options.

    >>> said_of_keys("no image is in tune; say e.g. --tune 0.1, or --group-by camera")
    'no image is in tune; say e.g. `tune` 0.1, or `group_by` camera'
    """
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"`{found[1].replace('-', '_')}`", line)
