"""The data set table: source, split, label type, class, count, object share, size, groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsss_core.data.description.facts import ImageFacts
from wsss_core.data.description.published import (
    EVERY_CLASS,
    EVERY_SOURCE,
    THESIS,
    LabelType,
    PublishedCount,
    published_counts,
)
from wsss_core.data.folder.layout import CLEAR
from wsss_core.data.image_set import SPLITS


@dataclass(frozen=True)
class ObjectShare:
    """The share of an image's pixels that an object takes, in [0, 1], over images that hold it.

    Attributes:
        median: half of the images have less.
        low: a twentieth of the images have less.
        high: a twentieth of the images have more.

    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassCount:
    """A row of the data set table.

    Attributes:
        source: the data set that the images come from; "" if unknown, or `EVERY_SOURCE`.
        split: "train", "tune" or "test".
        label_type: what is known of the images.
        class_name: a class, "clear" or `EVERY_CLASS`.
        images: how many.
        published: counts that were published of these images.
        share: of the class's objects; None without masks, or where no image holds it.
        smallest: the smallest width and the smallest height, in pixels.
        largest: the largest width and the largest height, in pixels.
        groups: how many groups the images are of; None where no image names one.
        cameras: how many cameras; None where no image names one.

    """

    source: str
    split: str
    label_type: LabelType
    class_name: str
    images: int
    published: tuple[PublishedCount, ...] = ()
    share: ObjectShare | None = None
    smallest: tuple[int, int] = (0, 0)
    largest: tuple[int, int] = (0, 0)
    groups: int | None = None
    cameras: int | None = None


def class_counts(
    images: Sequence[ImageFacts], classes: Sequence[str], known: Mapping[str, str]
) -> tuple[ClassCount, ...]:
    """Return the data set table: sources in their order, their splits, classes, clear, and all.

    Rows over all sources follow where there are several; then rows of the thesis's data sets that
    were not found, if its main source was.

    Args:
        images: of all splits.
        classes: the names of their classes.
        known: source -> its name in `PublishedCount`, where its counts were published.

    """
    sources = list(dict.fromkeys(one.source for one in images))
    of_all = EVERY_SOURCE if "ijmond" in known.values() else ""  # the sum is the thesis's T1
    rows = [
        row
        for source in [*sources, *([EVERY_SOURCE] if len(sources) > 1 else [])]
        for split in SPLITS
        for row in _of_source(
            source,
            [o for o in images if o.split == split and source in (o.source, EVERY_SOURCE)],
            classes,
            of_all if source == EVERY_SOURCE else known.get(source, ""),
        )
    ]
    return (*rows, *_not_found(rows, known))


def _of_source(
    source: str, images: Sequence[ImageFacts], classes: Sequence[str], known: str
) -> Iterator[ClassCount]:
    """Yield the rows of the images of a source and split."""
    if not images:
        return
    for number, name in enumerate(classes):
        held = [one for one in images if one.held[number]]
        # A set of one class may call it otherwise.
        published = "smoke" if len(classes) == 1 else name.lower()
        yield _row(
            source,
            images[0],
            name,
            held,
            published_counts(known, images[0].split, published),
            number,
        )
    clear = [one for one in images if not any(one.held)]
    counts = published_counts(known, images[0].split, CLEAR)
    yield _row(source, images[0], CLEAR, clear, counts)
    counts = published_counts(known, images[0].split, EVERY_CLASS)
    yield _row(source, images[0], EVERY_CLASS, images, counts)


def _row(
    source: str,
    first: ImageFacts,
    class_name: str,
    images: Sequence[ImageFacts],
    published: tuple[PublishedCount, ...],
    number: int | None = None,
) -> ClassCount:
    sizes = np.array([(one.width, one.height) for one in images] or [(0, 0)])
    areas = [one.areas[number] for one in images if number is not None and one.areas is not None]
    groups, cameras = {one.group for one in images}, {one.camera for one in images}
    # An image that names no group is its own.
    alone = sum(not one.group for one in images)
    smallest, largest = sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
    return ClassCount(
        source=source,
        split=first.split,
        label_type=LabelType.IMAGE_LEVEL if first.areas is None else LabelType.PIXEL_LEVEL,
        class_name=class_name,
        images=len(images),
        published=published,
        share=_share(areas),
        smallest=(smallest[0], smallest[1]),
        largest=(largest[0], largest[1]),
        groups=len(groups - {""}) + alone if any(groups) else None,
        cameras=len(cameras - {""}) if any(cameras) else None,
    )


def _share(areas: Sequence[float]) -> ObjectShare | None:
    if not areas:
        return None
    low, median, high = np.quantile(areas, (0.05, 0.5, 0.95)).tolist()
    return ObjectShare(median, low, high)


def _not_found(rows: Sequence[ClassCount], known: Mapping[str, str]) -> Iterator[ClassCount]:
    """Yield an empty row for each count of the thesis that no row stands beside."""
    if "ijmond" not in known.values():
        return
    beside = {count for row in rows for count in row.published}
    for count in THESIS:
        if count not in beside and count.source != EVERY_SOURCE:
            yield ClassCount(
                count.source, count.split, count.label_type, count.class_name, 0, (count,)
            )
