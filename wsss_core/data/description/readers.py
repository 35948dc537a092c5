"""Reading what a description needs of each image, one after another, whatever the source is.

Full-size images and masks are held only while they are looked at, one for each thread.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np

from wsss_core.data.description.facts import ImageFacts, ShownImage, class_areas, contexts_in
from wsss_core.data.description.flags import read_flags
from wsss_core.data.description.looks import LOOK_SIZE, look_of, small_rgb
from wsss_core.data.folder import FolderSource
from wsss_core.data.folder.layout import ListedImage
from wsss_core.data.image_decoding import decode_image, image_shape, read_rgb
from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, ImageSource
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.data.scenes import SceneSource, render_scene
from wsss_core.data.scenes.source import index_context, index_mask
from wsss_core.errors import InputError


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
        source: a folder, scenes, or any other.
        size: the side in pixels of images that a source has at no size of their own.

    """
    if isinstance(source, FolderSource):
        return FolderImages(source)
    if isinstance(source, SceneSource):
        return SceneImages(source)
    return SourceImages(source, size)


def _context_names(source: ImageSource) -> tuple[str, ...]:
    return tuple(f"context of {name}" for name in source.classes)


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
        entries = self._source.images(split)
        self._listed |= {(split, entry.identifier): entry for entry in entries}
        flags = read_flags(self._source.root, split, {entry.identifier for entry in entries})
        steps = ProgressLines(f"{split} images", len(entries))

        def read(entry: ListedImage) -> ImageFacts:
            facts = self._facts(split, entry)
            steps.step()
            return replace(facts, flags=flags.get(entry.identifier, ()))

        with ThreadPoolExecutor() as pool:
            yield from pool.map(read, entries)

    def _facts(self, split: str, entry: ListedImage) -> ImageFacts:
        height, width = image_shape(entry.image, self._source.rules)
        count = len(self.classes)
        held = tuple(number in entry.train_classes for number in range(count))
        areas: tuple[float, ...] | None = None
        contexts: tuple[str, ...] | None = None
        if split != "train":
            areas = (0.0,) * count
            if entry.mask is not None:
                codes = self._source.decode(entry.mask)
                if codes.shape != (height, width):
                    raise InputError(
                        f"{entry.mask}: {codes.shape[1]}x{codes.shape[0]} pixels, expected "
                        f"{width}x{height} as its image {entry.image}"
                    )
                areas = class_areas(codes, count, IGNORED)
            held = tuple(area > 0 for area in areas)
        if entry.context is not None:
            contexts = contexts_in(self._source.decode(entry.context), self.context_names)
        return ImageFacts(
            split=split,
            identifier=entry.identifier,
            held=held,
            height=height,
            width=width,
            group="" if entry.group == entry.identifier else entry.group,
            source=entry.source,
            camera=entry.camera,
            areas=areas,
            contexts=contexts,
            look=look_of(read_rgb(entry.image, LOOK_SIZE, self._source.rules)),
        )

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image with its masks at its own size."""
        entry = self._listed[one.split, one.identifier]
        mask, context = (
            None if path is None else self._source.decode(path).astype(np.uint8)
            for path in (entry.mask, entry.context)
        )
        pixels = decode_image(entry.image, rules=self._source.rules).pixels
        return ShownImage(pixels, mask, context)


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
        steps = ProgressLines(f"{split} scenes", len(indices))
        for index in indices:
            scene = render_scene(self._source.settings, index)
            codes, contexts = index_mask(scene), index_context(scene)
            yield ImageFacts(
                split=split,
                identifier=str(index),
                held=(scene.has_smoke, scene.has_steam)[:count],
                height=size,
                width=size,
                areas=None if split == "train" else class_areas(codes, count, IGNORED),
                contexts=contexts_in(contexts, self.context_names),
                look=look_of(small_rgb(scene.image)),
            )
            steps.step()

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return a scene with its masks, in training too."""
        scene = render_scene(self._source.settings, int(one.identifier))
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
        images = self._read(split)
        count = len(self.classes)
        for place, identifier in enumerate(images.identifiers):
            group = images.groups[place]
            stored = None if images.contexts is None else images.contexts[place]
            shape = (self._size, self._size)
            if images.masks is not None:
                shape = images.masks.shape(place)
            yield ImageFacts(
                split=split,
                identifier=identifier,
                held=tuple(bool(held) for held in images.labels[place]),
                height=shape[0],
                width=shape[1],
                group="" if group == identifier else group,
                source=images.sources[place],
                camera=images.cameras[place],
                areas=class_areas(images.mask(place), count, IGNORED) if images.has_masks else None,
                contexts=None if stored is None else contexts_in(stored, self.context_names),
                look=look_of(small_rgb(images.images[place])),
            )

    def picture(self, one: ImageFacts) -> ShownImage:
        """Return an image at the size at which it was read, and its masks at theirs."""
        images = self._read(one.split)
        place = images.identifiers.index(one.identifier)
        context = None if images.contexts is None else images.contexts[place]
        mask = images.mask(place) if images.has_masks else None
        return ShownImage(np.asarray(images.images[place]), mask, context)
