"""Counts of data sets as they were published, to be set beside those that are found.

The thesis trains on three sources and scores on crops of one of them; its table "Dataset overview"
gives the counts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class LabelType(StrEnum):
    """What is known of each image."""

    IMAGE_LEVEL = "image-level"
    PIXEL_LEVEL = "pixel-level"


EVERY_CLASS = "all images"
"""The name of the row over images of all classes and of none."""

EVERY_SOURCE = "all sources"
"""The name of the row over images of all sources."""


@dataclass(frozen=True)
class PublishedCount:
    """One published count.

    Attributes:
        source: the data set in small letters, or `EVERY_SOURCE`.
        split: "train" or "test".
        label_type: what is known of the images.
        class_name: "smoke", "clear" or `EVERY_CLASS`.
        images: how many.
        by: who published the count.

    """

    source: str
    split: str
    label_type: LabelType
    class_name: str
    images: int
    by: str


THESIS = (
    PublishedCount("ijmond", "train", LabelType.IMAGE_LEVEL, EVERY_CLASS, 2362, "thesis"),
    PublishedCount("ijmond", "test", LabelType.PIXEL_LEVEL, "smoke", 900, "thesis"),
    PublishedCount("smoke5k", "train", LabelType.IMAGE_LEVEL, "smoke", 19, "thesis"),
    PublishedCount("rise", "train", LabelType.IMAGE_LEVEL, "clear", 107, "thesis"),
    PublishedCount(EVERY_SOURCE, "train", LabelType.IMAGE_LEVEL, EVERY_CLASS, 2488, "thesis T1"),
)
"""The table of the thesis, and the sum of its training images, which it calls T1.

Of T2, "part of the test dataset", the thesis gives no count.
"""

WHOLE_SETS = (
    PublishedCount("smoke5k", "train", LabelType.PIXEL_LEVEL, "smoke", 5058, "SMOKE5K"),
    PublishedCount("smoke5k", "test", LabelType.PIXEL_LEVEL, "smoke", 400, "SMOKE5K"),
)
"""Counts of whole data sets by their authors."""


def known_source(*names: str) -> str:
    """Return the first name that is one of a published data set, as `PublishedCount` has it, or "".

    Args:
        names: of a source: its format, what the user called it, its folder.

    >>> known_source("mine", "SMOKE-5K_v2"), known_source("cameras")
    ('smoke5k', '')
    """
    known = sorted({count.source for count in (*THESIS, *WHOLE_SETS)} - {EVERY_SOURCE})
    for name in names:
        letters = re.sub(r"[^a-z0-9]", "", name.lower())
        for source in known:
            if letters.startswith(source):
                return source
    return ""


def published_counts(
    source: str,
    split: str,
    class_name: str,
    known: Iterable[PublishedCount] = (*THESIS, *WHOLE_SETS),
) -> tuple[PublishedCount, ...]:
    """Return the published counts of a source's split and class.

    Args:
        source: as `known_source` returns it, or `EVERY_SOURCE`.
        split: "train", "tune" or "test".
        class_name: the class, "clear" or `EVERY_CLASS`.
        known: the counts to look among.

    >>> [count.images for count in published_counts("rise", "train", "clear")]
    [107]
    """
    wanted = (source, split, class_name)
    return tuple(one for one in known if (one.source, one.split, one.class_name) == wanted)
