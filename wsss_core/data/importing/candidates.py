"""The images of all sources as one set: joined classes, known labels, a choice of some."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.formats import (
    SPLIT_WORDS,
    EmptyMask,
    FormatContent,
    FormatImage,
    Labels,
    Recognition,
    choose_classes,
    cut_windows,
    images_root,
    label_by_table,
    left_out_images,
    recode_image,
    recoding,
    recognise,
    tallied,
    unread_images,
    without_labels,
)
from wsss_core.data.image_set import IGNORED
from wsss_core.data.importing.mask_figures import (
    MaskFigures,
    is_empty_mask,
    labels_by_mask,
    mask_figures,
    shown_labels,
)
from wsss_core.data.importing.settings import ImportSettings, SourceSettings
from wsss_core.data.progress_lines import ProgressLines
from wsss_core.errors import InputError, nearest, quoted

UNSHOWN = "are left out, as their mask shows none of their classes"
"""What is noted of images whose mask contradicts their labels."""

_UNKNOWN = "have unknown labels and are left out"


@dataclass(frozen=True)
class ImportCandidate:
    """An image that may become part of the set.

    Attributes:
        source: the name of its source.
        image: as its format describes it; its mask has the codes of the joined classes.
        labels: the joined classes that it holds.
        group: what it has to stay together with, unique over all sources.
        figures: of its mask, where that was opened for the labels.

    """

    source: str
    image: FormatImage
    labels: Labels
    group: str
    figures: MaskFigures | None = None

    @property
    def origin(self) -> str:
        """The data set that it came from: that which its source names, or its source."""
        return self.image.source or self.source


@dataclass(frozen=True)
class ReadSource:
    """A source that was read.

    Attributes:
        settings: how.
        recognition: what it was taken for.
        content: its images, and what was noted.

    """

    settings: SourceSettings
    recognition: Recognition
    content: FormatContent


def read_source(settings: SourceSettings) -> ReadSource:
    """Recognise and read one source, with its classes and labels as they are asked for.

    Raises:
        InputError: it is not recognised or cannot be read.

    """
    wanted, images = settings.format, settings.options.images
    elsewhere = None if images is None or "{" in images else images  # no pattern, but a folder
    if wanted is None and images is not None and elsewhere is None:
        wanted = "pairs"
    recognition = recognise(settings.path, wanted)
    content = recognition.format.read(recognition.path, settings.options)
    unused = left_out_images(images_root(recognition.path, elsewhere), content.files)
    more = [note for note in (unread_images(recognition.path), unused) if note]
    content = replace(content, notes=tuple(dict.fromkeys((*content.notes, *more))))
    if settings.labels == "masks":
        content = without_labels(content)
    elif settings.labels != "format":
        content = label_by_table(content, settings.labels)
    if settings.classes is not None:
        content = choose_classes(content, settings.classes)
    if settings.options.crops == "thesis":
        content = cut_windows(content)
        if not content.images:
            raise InputError(f"{settings.path}: --crops thesis leaves nothing: {content.notes[-1]}")
    return ReadSource(settings, recognition, content)


def joined_classes(sources: Sequence[ReadSource], *, assume_absent: bool) -> tuple[str, ...]:
    """Return the classes of all sources.

    Raises:
        InputError: a class is unknown in a source, and not to be taken as absent there; or there
            are too many.

    """
    classes = tuple(dict.fromkeys(name for source in sources for name in source.content.classes))
    if not 1 <= len(classes) < IGNORED:
        raise InputError(f"{len(classes)} classes in all, expected 1 to {IGNORED - 1}")
    for source in sources:
        missing = [name for name in classes if name not in source.content.classes]
        if missing and not assume_absent:
            raise InputError(
                f"source {source.settings.name} has the classes "
                f"{', '.join(source.content.classes)} and says nothing of {', '.join(missing)}; "
                "choose by --classes, or say --assume-absent"
            )
    return classes


def join_sources(
    sources: Sequence[ReadSource], classes: tuple[str, ...], settings: ImportSettings
) -> tuple[list[ImportCandidate], list[str]]:
    """Return the candidates of all sources, and notes on those that are left out.

    Labels that only a mask can say are read from it.

    Raises:
        InputError: a mask cannot be read, or a class to take is not there or too rare.

    """
    candidates, notes = [], []
    for number, source in enumerate(sources):
        name = source.settings.name
        images = _recoded(source.content, classes)
        if source.settings.take:
            images = [image for image in images if image.split is None or _is_train(image.split)]
        known: list[ImportCandidate] = []
        unlabelled: list[str] = []
        unshown: list[str] = []
        for image, labels, figures in _labelled(images, classes, settings, source.settings):
            if labels is None or (labels.unknown and not settings.assume_absent):
                (unlabelled if labels or image.labels is None else unshown).append(image.name)
                continue
            known.append(
                ImportCandidate(name, image, labels, _group(name, image, settings), figures)
            )
        for left_out, said in ((unlabelled, _UNKNOWN), (unshown, UNSHOWN)):
            if left_out:
                said = f"images of {name} {said}"
                notes.append(tallied(len(left_out), said, left_out[0]))
        taken = _taken(known, source.settings, np.random.default_rng([settings.seed, number]))
        candidates += taken
    if not candidates:
        raise InputError(f"{sources[0].settings.path}: no image with known labels")
    if settings.group_by == "camera":
        notes += _without_camera(candidates)
    return candidates, notes


def _without_camera(candidates: Sequence[ImportCandidate]) -> list[str]:
    """Return a note on images that cannot be kept with those of their camera.

    Raises:
        InputError: no camera is known.

    """
    without = [found.image.name for found in candidates if found.image.camera is None]
    if len(without) == len(candidates):
        raise InputError(
            "the splits are to keep cameras together, and no image names its camera; a CSV of "
            "labels takes a column camera, and patterns a field {camera}"
        )
    said = "images have no camera, so nothing but their group keeps them together"
    return [tallied(len(without), said, without[0])] if without else []


def _is_train(split: str) -> bool:
    return SPLIT_WORDS.get(split.lower()) in (None, "train")


def _recoded(content: FormatContent, classes: tuple[str, ...]) -> list[FormatImage]:
    """Return the images with masks of the joined classes' codes."""
    if content.classes == classes:
        return list(content.images)
    table = recoding(content.classes, classes, {name: name for name in content.classes})
    return [recode_image(image, table) for image in content.images]


def _labelled(
    images: Sequence[FormatImage],
    classes: tuple[str, ...],
    settings: ImportSettings,
    source: SourceSettings,
) -> list[tuple[FormatImage, Labels | None, MaskFigures | None]]:
    """Return the images with their labels, and the figures of the masks that were opened for them.

    A mask is opened where it alone says what the image holds; and where some images are taken by
    their labels, as an image whose mask does not show its label must not be one of them.
    """

    def is_opened(image: FormatImage) -> bool:
        if image.mask is None or (image.labels is not None and is_empty_mask(image.mask)):
            return False
        return image.labels is None or bool(source.take)

    progress = ProgressLines(f"{source.name}: labels from masks", sum(map(is_opened, images)))

    def labelled(image: FormatImage) -> tuple[FormatImage, Labels | None, MaskFigures | None]:
        labels = image.labels
        if labels and labels.unknown and not labels.present and settings.assume_absent:
            # Nothing else is known of it, and everything unknown is to be taken as absent.
            image = replace(image, mask=image.mask or EmptyMask(image.picture))
        if not is_opened(image) or image.mask is None:
            return image, labels, None
        try:
            figures = mask_figures(image.mask)
        except InputError:
            if labels is None:
                raise
            return image, labels, None  # refused when it is examined, if it is taken
        progress.step()
        if labels is None:
            return image, labels_by_mask(figures, classes, settings.least_area), figures
        return image, shown_labels(labels, figures, classes, settings.least_area), figures

    with ThreadPoolExecutor() as pool:
        return list(pool.map(labelled, images))


def _group(source: str, image: FormatImage, settings: ImportSettings) -> str:
    if settings.group_by == "camera" and image.camera is not None:
        return f"{source}/{image.camera}"
    return f"{source}/{image.group or image.name}"


def _taken(
    known: list[ImportCandidate], settings: SourceSettings, random: np.random.Generator
) -> list[ImportCandidate]:
    """Return the images that `take` asks for, as training images; all where it asks for none."""
    if not settings.take:
        return known
    taken: dict[str, ImportCandidate] = {}
    for name, number in settings.take.items():
        fitting = sorted(
            (c for c in known if c.image.name not in taken and _holds(c.labels, name)),
            key=lambda c: c.image.name,
        )
        if len(fitting) < number:
            counts = _counts(known)
            near = nearest(name, counts) if name not in counts else None
            raise InputError(
                f"source {settings.name}: {number} images of {quoted(name)} to take, "
                f"{len(fitting)} are there for training"
                f"{f'; nearest: {near!r}' if near else ''}; it holds "
                f"{', '.join(f'{count} of {what}' for what, count in counts.items())}"
            )
        for index in sorted(random.choice(len(fitting), number, replace=False).tolist()):
            chosen = fitting[index]
            taken[chosen.image.name] = replace(chosen, image=replace(chosen.image, split="train"))
    return [taken[name] for name in sorted(taken)]


def _holds(labels: Labels, name: str) -> bool:
    return name in labels.present or (name == CLEAR and not labels.present)


def _counts(candidates: Sequence[ImportCandidate]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for candidate in candidates:
        for name in sorted(candidate.labels.present) or [CLEAR]:
            counts[name] = counts.get(name, 0) + 1
    return counts
