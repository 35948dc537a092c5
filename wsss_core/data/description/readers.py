"""Reading what a description needs of each image, one after another, whatever the source is.

Full-size images and masks are held only while they are looked at, one for each thread.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from PIL import Image

from wsss_core.data.description.facts import ImageFacts, ShownImage, class_areas, contexts_in
from wsss_core.data.description.looks import look_of
from wsss_core.data.folder import FolderSource
from wsss_core.data.folder.examination import ExaminedImage, examine_entries
from wsss_core.data.folder.layout import ListedImage
from wsss_core.data.folder.origins import read_flags
from wsss_core.data.image_decoding import decode_image
from wsss_core.data.image_set import SPLITS, ImageSet, ImageSource
from wsss_core.data.importing import PublishedSource
from wsss_core.data.importing.decoding import decode_target, identifier_of, is_scored
from wsss_core.data.importing.writing import Target
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.data.scenes import SceneSource, render_scene
from wsss_core.data.scenes.source import index_context, index_mask
from wsss_core.data.thumbnails import make_thumbnail


class DescribedImages(Protocol):
    """The images of a data set as a description reads them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        ...

    @property
    def context_names(self) -> tuple[str, ...]:
        """Return the name of the context of each class."""
        ...

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the splits that the data set lacks."""
        ...

    def facts(self, split: str) -> Iterator[ImageFacts]:
        """Yield the facts of each image of a split, in order.

        Raises:
            InputError: a file cannot be read, or files do not belong together.

        """
        ...

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image with its masks, as they are shown."""
        ...


def described_images(source: ImageSource, size: int) -> DescribedImages:
    """Return the reader of a source.

    Args:
        source: a folder, published sets, scenes, or any other.
        size: the side in pixels of images that a source has at no size of their own.

    """
    if isinstance(source, FolderSource):
        return FolderImages(source)
    if isinstance(source, PublishedSource):
        return PublishedImages(source)
    if isinstance(source, SceneSource):
        return SceneImages(source)
    return SourceImages(source, size)


def _context_names(source: ImageSource) -> tuple[str, ...]:
    return tuple(f"context of {name}" for name in source.classes)


def _facts(
    split: str, one: ExaminedImage, names: Sequence[str], flags: Sequence[str]
) -> ImageFacts:
    """Return the facts of an image whose files were examined; `names` are those of contexts."""
    entry, count = one.entry, len(names)
    context = None if entry.context is None else one.masks_and_contexts[-1].codes
    codes = {} if one.mask is None else one.mask.codes
    return ImageFacts(
        split=split,
        identifier=entry.identifier,
        held=tuple(number in one.held(count) for number in range(count)),
        height=one.picture.shape[0],
        width=one.picture.shape[1],
        group="" if entry.group == entry.identifier else entry.group,
        source=entry.source,
        camera=entry.camera,
        flags=tuple(flags),
        areas=None if split == "train" else class_areas(codes, count),
        contexts=None if context is None else contexts_in(context, names),
        look=look_of(one.thumbnail),
    )


class FolderImages:
    """The images of a data folder; it may lack the splits tune and test.

    Args:
        source: the data folder.

    """

    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self.classes = source.classes
        self.context_names = _context_names(source)
        self.missing = tuple(split for split in SPLITS if not (source.root / split).is_dir())
        self._listed: dict[tuple[str, str], ListedImage] = {}

    def facts(self, split: str) -> Iterator[ImageFacts]:
        """Yield the facts of each image of a split, in order."""
        source, entries = self._source, self._source.images(split)
        self._listed |= {(split, entry.identifier): entry for entry in entries}
        flags = read_flags(source.root, split, {entry.identifier for entry in entries})
        progress = ProgressLines(f"{split}: images described", len(entries))
        for one in examine_entries(entries, source.meaning, source.rules, progress=progress):
            if one.facts is None:
                raise one.errors[0]
            named = flags.get(one.facts.entry.identifier, ())
            yield _facts(split, one.facts, self.context_names, named)

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image with its masks at its own size."""
        entry = self._listed[one.split, one.identifier]
        mask, context = (
            None if path is None else self._source.decode(path)
            for path in (entry.mask, entry.context)
        )
        return ShownImage(decode_image(entry.image, None, self._source.rules).pixels, mask, context)


class PublishedImages:
    """The images of published data sets, read where they lie.

    Args:
        source: the data sets.

    """

    missing = ()

    def __init__(self, source: PublishedSource) -> None:
        self._source = source
        self.classes = source.classes
        self.context_names = _context_names(source)
        self._listed: dict[tuple[str, str], Target] = {}

    def facts(self, split: str) -> Iterator[ImageFacts]:
        """Yield the facts of each image of a split, in order."""
        targets = self._source.images(split)
        self._listed |= {(split, identifier_of(target)): target for target in targets}
        progress = ProgressLines(f"{split}: images described", len(targets))

        def read(target: Target) -> ImageFacts:
            found = decode_target(target, None).facts
            progress.step()
            flags = sorted(target.examined.candidate.image.flags)
            return _facts(split, found, self.context_names, flags)

        with ThreadPoolExecutor() as pool:
            yield from pool.map(read, targets)

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image with its mask at its own size."""
        target = self._listed[one.split, one.identifier]
        mask = target.read_mask() if is_scored(target) else None
        context = target.read_context() if target.context is not None else None
        return ShownImage(target.examined.candidate.image.picture.read(), mask, context)


class SceneImages:
    """Procedural scenes; their contexts are known in the training split too.

    Args:
        source: the scenes.

    """

    missing = ()

    def __init__(self, source: SceneSource) -> None:
        self._source = source
        self.classes = source.classes
        self.context_names = ("chimneys", "cooling towers")[: len(self.classes)]

    def facts(self, split: str) -> Iterator[ImageFacts]:
        """Yield the facts of each scene of a split, in order; a scene is rendered for each."""
        size, count = self._source.settings.size, len(self.classes)
        indices = self._source.indices(split)
        progress = ProgressLines(f"{split}: scenes described", len(indices))
        for index in indices:
            scene = render_scene(self._source.settings_of(split), index)
            codes = _counted(index_mask(scene))
            yield ImageFacts(
                split=split,
                identifier=str(index),
                held=(scene.has_smoke, scene.has_steam)[:count],
                height=size,
                width=size,
                areas=None if split == "train" else class_areas(codes, count),
                contexts=contexts_in(_counted(index_context(scene)), self.context_names),
                look=look_of(make_thumbnail(Image.fromarray(scene.image))),
            )
            progress.step()

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return a scene with its masks, in training too."""
        scene = render_scene(self._source.settings_of(one.split), int(one.identifier))
        return ShownImage(scene.image, index_mask(scene), index_context(scene))


class SourceImages:
    """The images of any other source, which gives whole splits at a size.

    Args:
        source: gives them.
        size: the side of the images in pixels.

    """

    missing = ()

    def __init__(self, source: ImageSource, size: int) -> None:
        self._source, self._size = source, size
        self.classes = source.classes
        self.context_names = _context_names(source)
        self._held: tuple[str, ImageSet] | None = None

    def _read(self, split: str) -> ImageSet:
        if self._held is None or self._held[0] != split:
            self._held = None  # one split at a time is in memory
            self._held = split, self._source.read(split, self._size)
        return self._held[1]

    def facts(self, split: str) -> Iterator[ImageFacts]:
        """Yield the facts of each image of a split, in order."""
        images, count = self._read(split), len(self.classes)
        for place, identifier in enumerate(images.identifiers):
            group = images.groups[place]
            context = None if images.contexts is None else images.contexts[place]
            masks = images.masks
            height, width = (self._size,) * 2 if masks is None else masks.shape(place)
            areas = None if masks is None else class_areas(_counted(images.mask(place)), count)
            yield ImageFacts(
                split=split,
                identifier=identifier,
                held=tuple(bool(held) for held in images.labels[place]),
                height=height,
                width=width,
                group="" if group == identifier else group,
                source=images.sources[place],
                camera=images.cameras[place],
                areas=areas,
                contexts=None
                if context is None
                else contexts_in(_counted(context), self.context_names),
                look=look_of(make_thumbnail(Image.fromarray(np.asarray(images.images[place])))),
            )

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image at the size at which it was read, and its masks at theirs."""
        images = self._read(one.split)
        place = images.identifiers.index(one.identifier)
        context = None if images.contexts is None else images.contexts[place]
        mask = images.mask(place) if images.has_masks else None
        return ShownImage(np.asarray(images.images[place]), mask, context)


def _counted(codes: np.ndarray) -> dict[int, int]:
    """Return how many pixels have each code."""
    values, counts = np.unique(codes, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
