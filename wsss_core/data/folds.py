"""Folds: every image's role, so that what is tested on is never of a group that was trained on.

All splits are pooled. An image of tune or test has a mask and can be tuned on and scored; any image
can be trained on, by its image-level labels. Images belong to units: their groups, sources or
cameras. A fold holds some units out:

    test    the images with masks of the units that are held out
    tune    of the other images with masks whole groups, a share that the study chooses
    train   every other image, with a mask or without, by its labels alone
    unused  images without masks of units that are held out, or of the groups of tune

No group lies in two roles of a fold, and no unit that is held out lies in another role. Units are
dealt to folds greedily, the largest first, each to the fold in which its classes are rarest, as in
stratified cross-validation by groups (Kohavi, IJCAI 1995, for the stratification). Ties fall by a
hash of seed and name, so folds depend on nothing but the names, the labels and the seed.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss_core.data.image_set import SPLITS
from wsss_core.data.outline import SplitOutline
from wsss_core.errors import InputError, quoted

FoldUnit = Literal["group", "source", "camera"]
"""What is held out together."""

Place = tuple[str, int]
"""A split, and the place of an image in it."""


@dataclass(frozen=True)
class Fold:
    """One fold of a data set.

    Attributes:
        number: from 1.
        held_out: the names of the units that are tested on and not trained on, in natural order.
        roles: "train", "tune" and "test" -> the places of their images.
        unused: how many images have no role.
        groups: role -> how many groups its images are of.
        absent: role -> the classes that none of its images holds.
        without_unit: how many training images belong to no known unit, such as those without a
            camera; they are trained on in every fold.

    """

    number: int
    held_out: tuple[str, ...]
    roles: Mapping[str, tuple[Place, ...]]
    unused: int
    groups: Mapping[str, int]
    absent: Mapping[str, tuple[str, ...]]
    without_unit: int = 0


@dataclass(frozen=True, eq=False)
class PooledImages:
    """The N images of all splits.

    Attributes:
        places: N places.
        groups: N groups; an image without a group is one of its own.
        units: N names of what is held out together; "" where that is unknown.
        labels: bool [N, K].
        masked: bool [N], whether an image has a mask.

    """

    places: tuple[Place, ...]
    groups: tuple[str, ...]
    units: tuple[str, ...]
    labels: np.ndarray
    masked: np.ndarray

    @classmethod
    def of(cls, outlines: Mapping[str, SplitOutline], by: FoldUnit) -> "PooledImages":
        """Pool the splits of a data set.

        Raises:
            InputError: an image with a mask has no source or camera, or a group has two.

        """
        places: list[Place] = []
        groups: list[str] = []
        known: list[str] = []
        for split in SPLITS:
            one = outlines[split]
            places += [(split, index) for index in range(len(one.identifiers))]
            pairs = zip(one.identifiers, one.groups, strict=True)
            own = [group_of(split, name, group) for name, group in pairs]
            groups += own
            known += own if by == "group" else one.sources if by == "source" else one.cameras
        masked = np.array([split != "train" for split, _ in places])
        units = _units(groups, known, by)
        lacking = [place for place, unit in zip(places, units, strict=True) if not unit]
        if lost := [(split, index) for split, index in lacking if split != "train"]:
            split, index = lost[0]
            first = f"{split}/{outlines[split].identifiers[index]}"
            raise InputError(
                f"folds by {by}: {len(lost)} of {int(masked.sum())} images with masks have no {by}"
                f" (first {first}); groups.csv of a data folder takes a column {by}"
                + (", a table of `labels` of a published set too" if by == "camera" else "")
            )
        labels = np.concatenate([outlines[split].labels for split in SPLITS])
        return cls(tuple(places), tuple(groups), tuple(units), labels, masked)


def group_of(split: str, identifier: str, group: str) -> str:
    """Return the group of an image among those of all splits; names of images may repeat there."""
    return f"{split}/{identifier}" if group == identifier else group


def _units(groups: Sequence[str], known: Sequence[str], by: FoldUnit) -> list[str]:
    """Return the unit of each image: that of its group, of which one image may know it for all."""
    of_group: dict[str, str] = {}
    for group, unit in zip(groups, known, strict=True):
        if unit and of_group.setdefault(group, unit) != unit:
            raise InputError(
                f"folds by {by}: group {quoted(group)} has images of two {by}s, "
                f"{quoted(of_group[group])} and {quoted(unit)}; expected one, as no group may lie "
                "in two roles"
            )
    return [of_group.get(group, "") for group in groups]


def make_folds(
    outlines: Mapping[str, SplitOutline],
    classes: Sequence[str],
    *,
    by: FoldUnit,
    k: int | Literal["all"],
    seed: int = 0,
    tune: float = 0.2,
) -> tuple[Fold, ...]:
    """Deal the images of a data set to folds.

    Args:
        outlines: "train", "tune" and "test" -> what is known of their images.
        classes: the K classes' names.
        by: what is held out together.
        k: the number of folds; "all" holds each unit out by itself, in the order of their names.
        seed: decides ties.
        tune: the share of the images with masks that are not held out, above 0 and below 1, which
            thresholds are tuned on.

    Raises:
        InputError: fewer units than folds, units that are unknown, or a fold without images for
            tuning or training.

    Example:
        >>> frames = tuple(f"{clip}{n}" for clip in "abcd" for n in range(3))
        >>> clips = tuple(name[0] for name in frames)
        >>> some = SplitOutline(frames, clips, np.ones((12, 1), bool))
        >>> outlines = {"train": some, "tune": some, "test": some}
        >>> [fold.held_out for fold in make_folds(outlines, ["smoke"], by="group", k="all")]
        [('a',), ('b',), ('c',), ('d',)]

    """
    pool = PooledImages.of(outlines, by)
    counts = _counts(pool, pool.units)
    names = natural_order(counts)
    said = f"folds by {by}"
    if len(names) < (2 if k == "all" else k):
        raise InputError(
            f"{said}: {len(names)} {by}{'s have' if len(names) != 1 else ' has'} images with "
            f"masks; expected at least {2 if k == 'all' else k}"
        )
    held_out: list[tuple[str, ...]]
    if k == "all":
        held_out = [(name,) for name in names]
    else:
        bins = deal(counts, [1.0] * k, seed)
        held_out = [tuple(n for n in names if bins[n] == number) for number in range(k)]
    return tuple(
        _fold(pool, classes, number, held, f"{said}, fold {number}", seed, tune)
        for number, held in enumerate(held_out, 1)
    )


def whole_groups(
    outlines: Mapping[str, SplitOutline],
    split: str,
    share: float,
    *,
    apart_from: Sequence[str],
    key: str,
    seed: int = 0,
) -> tuple[int, ...]:
    """Choose about a share of each class of a split by whole groups; return places, ascending.

    A group of which another split holds an image stays whole where it is.

    Args:
        outlines: "train", "tune" and "test" -> what is known of their images.
        split: "tune" or "test".
        share: of the images whose groups may be chosen, above 0 and below 1.
        apart_from: the other splits that are meant.
        key: how messages call the share.
        seed: decides ties.

    Raises:
        InputError: fewer than two groups may be chosen.

    Example:
        >>> frames = tuple(f"{clip}{n}" for clip in "abcd" for n in range(3))
        >>> some = SplitOutline(frames, tuple(name[0] for name in frames), np.ones((12, 1), bool))
        >>> other = SplitOutline(("x",), ("a",), np.ones((1, 1), bool))
        >>> outlines = {"train": other, "tune": some, "test": other}
        >>> whole_groups(outlines, "tune", 0.3, apart_from=["test"], key="share")
        (6, 7, 8)

    """
    pool = PooledImages.of(outlines, "group")
    named = list(zip(pool.places, pool.groups, strict=True))
    elsewhere = {group for (of, _), group in named if of in apart_from}
    free = {group for (of, _), group in named if of == split} - elsewhere
    if len(free) < 2:
        raise InputError(
            f"{key}: {len(free)} groups of the {split} split have no image in "
            f"{' or '.join(apart_from)}; expected at least 2, of which some join and some are "
            "scored"
        )
    bins = deal(_counts(pool, pool.groups, free), [share, 1 - share], seed)
    return tuple(place for (of, place), group in named if of == split and bins.get(group) == 0)


def _fold(
    pool: PooledImages,
    classes: Sequence[str],
    number: int,
    held_out: tuple[str, ...],
    said: str,
    seed: int,
    tune: float,
) -> Fold:
    units, groups = np.array(pool.units), np.array(pool.groups)
    out = np.isin(units, held_out)
    left = [g for g, here in zip(pool.groups, pool.masked & ~out, strict=True) if here]
    counts = _counts(pool, pool.groups, set(left))
    if len(counts) < 2:
        raise InputError(
            f"{said}: {len(counts)} group with masks is left beside those held out; expected at "
            "least 2, of which thresholds are tuned on one"
        )
    bins = deal(counts, [tune, 1 - tune], seed)
    tuned = np.isin(groups, [name for name, bin_ in bins.items() if bin_ == 0])
    chosen = {
        "train": ~out & ~tuned,
        "tune": ~out & tuned & pool.masked,
        "test": out & pool.masked,
    }
    return Fold(
        number=number,
        held_out=held_out,
        roles={
            role: tuple(pool.places[index] for index in np.flatnonzero(here))
            for role, here in chosen.items()
        },
        unused=int((~np.any(list(chosen.values()), axis=0)).sum()),
        groups={role: len(set(groups[here])) for role, here in chosen.items()},
        absent={
            role: tuple(
                name
                for name, there in zip(classes, pool.labels[here].any(axis=0), strict=True)
                if not there
            )
            for role, here in chosen.items()
        },
        without_unit=int((units == "").sum()),
    )


def _counts(
    pool: PooledImages, names: Sequence[str], wanted: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Return how many images with masks each unit or group has, by class, clear and in all."""
    columns = np.column_stack(
        [pool.labels, ~pool.labels.any(axis=1), np.ones(len(pool.labels), bool)]
    )
    known, which = np.unique(np.array(names)[pool.masked], return_inverse=True)
    counts = np.zeros((len(known), columns.shape[1]))
    np.add.at(counts, which, columns[pool.masked])
    only = set(known.tolist() if wanted is None else wanted)
    return {name: row for name, row in zip(known.tolist(), counts, strict=True) if name in only}


def deal(
    counts: Mapping[str, np.ndarray], weights: Sequence[float], seed: int = 0
) -> dict[str, int]:
    """Deal units to bins so that each bin gets its share of every column; return unit -> bin.

    The unit with the largest share of a column comes first. Each goes to the bin in which the sum
    over columns of (what the bin has, by its weight) x (what the unit has) is least. No bin stays
    empty if there are as many units as bins.

    Args:
        counts: unit -> float [C], how much it has of each column; the last one is above 0.
        weights: B positive weights of the bins.
        seed: decides the order of units of the same share.

    Example:
        >>> counts = {name: np.array([1.0]) for name in "abcdef"}
        >>> sorted(deal(counts, [1, 2]).values())
        [0, 0, 1, 1, 1, 1]

    """
    totals = np.sum(list(counts.values()), axis=0)
    shares = {name: one / np.where(totals > 0, totals, 1) for name, one in counts.items()}
    order = sorted(counts, key=lambda name: (-shares[name].max(), _hash(seed, name)))
    weight = np.asarray(weights, float)
    held = np.zeros((len(weight), len(totals)))
    bins: dict[str, int] = {}
    for name in order:
        cost = ((held + shares[name] / 2) / weight[:, None]) @ shares[name]
        bins[name] = chosen = int(np.flatnonzero(cost <= cost.min() * (1 + 1e-9))[0])
        held[chosen] += shares[name]
    # A bin of little weight may have got nothing: it takes the least unit that another can spare.
    for empty in set(range(len(weight))) - set(bins.values()):
        spare = [name for name in order if list(bins.values()).count(bins[name]) > 1]
        if spare:
            bins[spare[-1]] = empty
    return bins


def _hash(seed: int, name: str) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).hexdigest()


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names as people do: numbers within them by their value.

    >>> natural_order(["cam10", "cam9", "b"])
    ['b', 'cam9', 'cam10']
    """

    def parts(name: str) -> list[tuple[int, int, str]]:
        pieces = re.split(r"([0-9]+)", name)
        return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in pieces]

    return sorted(names, key=lambda name: (parts(name), name))
