"""Which training images a segmenter learns from, and which of them with their true masks.

An image that is scored, or of whose group one is, never joins. Masks are drawn group by group, in
an order that the seed decides, so that the first 25 are among the first 50. An image that holds no
class is all background by its label: its mask costs nothing. Such images join in the proportion in
which they occur, so that few masks do not drown in background.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.planning import SCORED_SPLITS, SegmentJob
from studies.store import ArtifactStore
from wsss_core.data.folds import group_of
from wsss_core.data.image_set import IGNORED, ImageSet
from wsss_core.errors import InputError


@dataclass(frozen=True, eq=False)
class TrainingSelection:
    """The images of a segmentation run.

    Attributes:
        images: the training split.
        places: those that are trained on, ascending.
        masks: place -> true mask, uint8 [S, S], of those that hold a class and have one here.
        left_out: how many images share a group with one that is scored.

    """

    images: ImageSet
    places: NDArray[np.intp]
    masks: Mapping[int, NDArray[np.uint8]]
    left_out: int

    @property
    def holding(self) -> NDArray[np.intp]:
        """The places of images that hold a class by their labels, ascending."""
        return self.places[self.images.labels[self.places].any(axis=1)]

    def true_masks(self) -> NDArray[np.uint8]:
        """Return the true masks of all images that are trained on, uint8 [N, S, S].

        Those without a class are 0, and so are those whose mask is not known.
        """
        side = self.images.images.shape[1]
        found = np.zeros((len(self.places), side, side), np.uint8)
        for row, place in zip(found, self.places.tolist(), strict=True):
            if place in self.masks:
                row[...] = self.masks[place]
            if self.images.windows is not None:
                row[self.images.windows.padding(place, side)] = IGNORED
        return found


def select_images(job: SegmentJob, store: ArtifactStore) -> TrainingSelection:
    """Choose the images of a segmentation run.

    Raises:
        InputError: more masks than there are, or no image that can join.

    """
    images = job.images.load(store, "train")
    scored = {split: job.images.load(store, split) for split in SCORED_SPLITS}
    joins = may_join(images, scored)
    holds = images.labels.any(axis=1)
    holding, clear = np.flatnonzero(joins & holds), np.flatnonzero(joins & ~holds)
    if not len(holding):
        raise InputError(
            f"{job.named}: no training image that holds a class can join: "
            f"{int((~joins).sum())} of {len(images)} share a group with an image that is scored"
        )
    asked = job.settings["labels"]["masks"]
    left_out = int((~joins).sum())
    if asked is None:
        return TrainingSelection(images, np.flatnonzero(joins), {}, left_out)
    assert job.masks is not None
    known = job.masks.load(store)
    there = [place for place in holding.tolist() if images.identifiers[place] in known]
    count = int(asked) if isinstance(asked, int) else len(there)
    if not 0 < count <= len(there):
        raise InputError(
            f"{job.named}: {asked} masks, but {len(there)} training images have one and share no "
            "group with an image that is scored"
        )
    drawn = drawn_in_order(there, images.groups, job.seed)[:count]
    masks = {place: np.asarray(known[images.identifiers[place]]) for place in drawn}
    if job.maps is not None:
        return TrainingSelection(images, np.flatnonzero(joins), masks, left_out)
    beside = round(len(clear) * count / len(holding))
    places = [*drawn, *drawn_in_order(clear.tolist(), images.groups, job.seed)[:beside]]
    return TrainingSelection(images, np.sort(np.array(places, np.intp)), masks, left_out)


def may_join(images: ImageSet, scored: Mapping[str, ImageSet]) -> NDArray[np.bool_]:
    """Return which training images share no group with an image that is scored, bool [N].

    Args:
        images: the training split.
        scored: the splits that are scored, by name.

    """
    taken = {
        group_of(split, identifier, group)
        for split, one in scored.items()
        for identifier, group in zip(one.identifiers, one.groups, strict=True)
    }
    own = zip(images.identifiers, images.groups, strict=True)
    return np.array([group_of("train", *names) not in taken for names in own], np.bool_)


def drawn_in_order(places: Sequence[int], groups: Sequence[str], seed: int) -> list[int]:
    """Return places in a drawn order: groups shuffled, the images of one group together.

    Args:
        places: of images.
        groups: the group of every image, by place.
        seed: decides the order.

    >>> groups = ["a", "b", "a", "c"]
    >>> [groups[place] for place in drawn_in_order([0, 1, 2, 3], groups, 2)]
    ['c', 'a', 'a', 'b']
    """
    of_group: dict[str, list[int]] = {}
    for place in places:
        of_group.setdefault(groups[place], []).append(place)
    names = list(of_group)
    order = np.random.default_rng([seed, len("masks")]).permutation(len(names))
    return [place for number in order for place in of_group[names[number]]]
