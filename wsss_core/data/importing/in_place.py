"""Published data sets read where they lie, as an import would write them, without the copy."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.formats import Picture
from wsss_core.data.image_decoding import PictureFile, read_full_rgb, read_rgb
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, PixelMaps
from wsss_core.data.importing.planning import PlannedImport, plan_import
from wsss_core.data.importing.settings import ImportSettings
from wsss_core.data.importing.writing import Target
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, as_input_error


class _Digests(NamedTuple):
    picture: str  # of the file, or of the pixels of a frame
    mask: str | None  # of its pixels; None where none is read


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
        # Of each split the digests of what every image is made of, and the fingerprint given last.
        self._taken: dict[str, tuple[list[_Digests], str]] = {}

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
        targets = sorted(self.plan.targets, key=_identifier)
        return {s: [t for t in targets if t.examined.split == s] for s in SPLITS}

    def images(self, split: str) -> Sequence[Target]:
        """Return the images of a split, sorted by identifier.

        Raises:
            ValueError: `split` is not one of SPLITS.

        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r}, expected one of {', '.join(SPLITS)}")
        return self._targets[split]

    def fingerprint(self, split: str) -> str:
        """Return a digest (128 bit, hexadecimal) of all that `read` depends on, but the size.

        These are the bytes of image files, the pixels of frames and masks, names, labels, groups,
        sources and cameras. Where the files lie does not matter, nor what else is in them.

        Raises:
            InputError: an image or mask cannot be read.

        """
        targets = self.images(split)
        pictures = [target.examined.candidate.image.picture for target in targets]
        whole = list(dict.fromkeys(p.path for p in pictures if p.frame is None))
        of_file = dict(zip(whole, file_hashes(whole), strict=True))
        progress = ProgressLines(f"{split}: digests of frames and masks", len(targets))

        def digests(target: Target) -> _Digests:
            picture = target.examined.candidate.image.picture
            found = _Digests(
                of_file[picture.path] if picture.frame is None else _digest(picture.read()),
                None if split == "train" or not target.mask else _digest(target.read_mask()),
            )
            progress.step()
            return found

        with ThreadPoolExecutor() as pool:
            found = list(pool.map(digests, targets))
        taken = self._fingerprint(split, found)
        self._taken[split] = found, taken
        return taken

    def _fingerprint(self, split: str, digests: Sequence[_Digests]) -> str:
        lines = []
        for target, made_of in zip(self.images(split), digests, strict=True):
            candidate = target.examined.candidate
            picture = candidate.image.picture
            window = picture.window
            lines.append(
                [
                    *(_identifier(target), candidate.group, candidate.source),
                    *(candidate.image.camera, *made_of, picture.upright),
                    [window.top, window.left, window.height, window.width] if window else None,
                    target.examined.held if split == "train" else None,
                ]
            )
        content = json.dumps(["published", self.classes, lines])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def read(self, split: str, size: int) -> ImageSet:
        """Decode a split: images of size x size pixels, masks at their own resolution.

        Raises:
            InputError: a file cannot be read, or changed since the fingerprint was taken.

        """
        if size < 1:
            raise ValueError(f"size {size}, expected at least 1 pixel")
        targets = self.images(split)
        masked = split != "train"
        little = f"{self.root}: there is too little memory for the {len(targets)} images of {split}"
        with as_input_error(little, MemoryError), ThreadPoolExecutor() as pool:
            images = np.empty((len(targets), size, size, 3), np.uint8)
            labels = np.zeros((len(targets), len(self.classes)), np.bool_)
            masks = None
            if masked:
                pictures = [target.examined.candidate.image.picture for target in targets]
                shapes = list(pool.map(Picture.shape, pictures))
                masks = PixelMaps.allocate(shapes, [target.mask is not None for target in targets])
            progress = ProgressLines(f"{split}: images read", len(targets))

            def decode(index: int) -> _Digests:
                target = targets[index]
                of_picture, images[index] = _decoded(target.examined.candidate.image.picture, size)
                of_mask = None
                if masks is None:
                    labels[index, [code - 1 for code in target.examined.held]] = True
                elif target.mask is not None:
                    codes = target.read_mask()
                    of_mask = _digest(codes)
                    _fill(masks, index, codes, target)
                    present = np.bincount(codes.ravel(), minlength=IGNORED + 1) > 0
                    labels[index] = present[1 : len(self.classes) + 1]
                progress.step()
                return _Digests(of_picture, of_mask)

            digests = list(pool.map(decode, range(len(targets))))
        self._check_unchanged(split, digests)
        if masked and not labels.any():
            raise InputError(
                f"{self.root}: every mask of {split} is empty, expected at least one with "
                f"{' or '.join(self.classes)}"
            )
        candidates = [target.examined.candidate for target in targets]
        return ImageSet(
            classes=self.classes,
            images=images,
            labels=labels,
            identifiers=tuple(map(_identifier, targets)),
            groups=tuple(candidate.group for candidate in candidates),
            masks=masks,
            sources=tuple(candidate.source for candidate in candidates),
            cameras=tuple(candidate.image.camera or "" for candidate in candidates),
        )

    def _check_unchanged(self, split: str, digests: list[_Digests]) -> None:
        """Raise unless what was read has the fingerprint that was given before, if one was."""
        before, _ = self._taken.get(split, (digests, ""))
        for target, old, new in zip(self.images(split), before, digests, strict=True):
            if old != new:
                raise _changed(target)


def said_of_keys(line: str) -> str:
    """Return a message of an import that names keys of a study file in place of options.

    >>> said_of_keys("no image is in tune; say e.g. --tune 0.1, or --group-by camera")
    'no image is in tune; say e.g. `tune` 0.1, or `group_by` camera'
    """
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"`{found[1].replace('-', '_')}`", line)


def _identifier(target: Target) -> str:
    return target.file.partition("/")[2]


def _digest(pixels: np.ndarray) -> str:
    content = np.ascontiguousarray(pixels)
    return hashlib.blake2b(
        repr(content.shape).encode() + content.tobytes(), digest_size=16
    ).hexdigest()


def _decoded(picture: Picture, size: int) -> tuple[str, np.ndarray]:
    """Return the digest of what a picture is made of, and its pixels uint8 [size, size, 3]."""
    if picture.frame is not None:
        pixels = picture.read()
        return _digest(pixels), _resized(pixels, size)
    file = PictureFile.read(picture.path)
    if picture.is_whole_file:
        return file.digest, read_rgb(file, size)
    pixels = read_full_rgb(file, upright=picture.upright)
    cut = pixels if picture.window is None else picture.window.cut(pixels)
    return file.digest, _resized(cut, size)


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    sides = (size, size)
    return np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR))


def _fill(masks: PixelMaps, index: int, codes: np.ndarray, target: Target) -> None:
    view = masks[index]
    if view is None or view.shape != codes.shape:
        raise _changed(target)
    view[...] = codes


def _changed(target: Target) -> InputError:
    path = target.examined.candidate.image.picture.path
    return InputError(
        f"{path}: it or its mask changed while it was read; run again when nothing writes to the "
        "data set"
    )
