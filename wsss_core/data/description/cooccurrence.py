"""What accompanies each class: context, source, camera, flags, looks, sizes, other classes.

A network that is trained with image-level labels may learn whatever accompanies a class. So every
class is set beside everything that may accompany it, by the lift P(class | companion) / P(class).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePath

import numpy as np

from wsss_core.data.description.facts import ImageFacts, group_numbers
from wsss_core.data.description.lift import Counted, effective, lift, lift_intervals

FEW = 10
"""Fewer images, or groups, with a companion or without it are few."""

FEWEST = 3
"""Companions of fewer images are counted and left out."""

STRONG = 1.25
"""A lift of so much, or of at most its inverse, is strong."""

SCOPES: Mapping[str, tuple[str, ...]] = {"train": ("train",), "tune and test": ("tune", "test")}
"""Splits that are counted together: labels of train are given, those of the others are of masks."""


class CompanionKind(StrEnum):
    """What may accompany a class."""

    CONTEXT = "context"
    SOURCE = "source"
    CAMERA = "camera"
    FLAG = "flag"
    LOOK = "look"
    SIZE = "size"
    ENDING = "file ending"
    OTHER_CLASS = "class"


@dataclass(frozen=True)
class Cooccurrence:
    """A class and something that may accompany it, over the images of a scope.

    Attributes:
        scope: a key of `SCOPES`.
        class_name: the class.
        kind: what sort of thing the companion is.
        companion: its name.
        both: images with the class and the companion.
        with_companion: images with the companion.
        with_class: images with the class.
        images: all images of which it is known whether they have the companion.
        groups_with: groups of the images with the companion.
        groups: groups of all these images.
        lift: P(class | companion) / P(class).
        low: the lower end of its 95 % interval, over groups.
        high: the upper end.
        by_chance: whether the interval over images, as if they were independent, includes 1 where
            it is as wide as the number of co-occurrences of the scope asks for.
        same_images: other companions that the same images have.
        other_images: companions that all the other images have, and none of these.

    """

    scope: str
    class_name: str
    kind: CompanionKind
    companion: str
    both: int
    with_companion: int
    with_class: int
    images: int
    groups_with: int
    groups: int
    lift: float
    low: float
    high: float
    by_chance: bool
    same_images: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()

    @property
    def share_with(self) -> float:
        """P(class | companion)."""
        return self.both / self.with_companion

    @property
    def share_without(self) -> float:
        """P(class | no companion)."""
        return (self.with_class - self.both) / (self.images - self.with_companion)

    @property
    def balanced_accuracy(self) -> float:
        """Of telling the class by the companion alone, or by its absence if that is better."""
        of_class = self.both / self.with_class
        of_others = (self.with_companion - self.both) / (self.images - self.with_class)
        found = (of_class + 1 - of_others) / 2
        return max(found, 1 - found)

    @property
    def few(self) -> bool:
        """Whether few images, or few groups, have the companion or lack it."""
        return min(self.with_companion, self.images - self.with_companion) < FEW

    @property
    def few_groups(self) -> bool:
        """Whether the images with the companion are of few groups, though they are not few."""
        return not self.few and self.groups_with < FEW

    @property
    def strong(self) -> bool:
        """Whether the lift is far from 1, and not by chance."""
        far = self.lift >= STRONG or self.lift <= 1 / STRONG
        return far and not self.by_chance

    @property
    def name(self) -> str:
        """The companion with its kind, e.g. "source A"."""
        return _named(self.kind, self.companion)


def _named(kind: CompanionKind, companion: str) -> str:
    if kind is CompanionKind.LOOK:
        return f"{companion} look"
    return companion if kind is CompanionKind.CONTEXT else f"{kind} {companion}"


def cooccurrences(
    images: Sequence[ImageFacts], classes: Sequence[str]
) -> tuple[tuple[Cooccurrence, ...], tuple[str, ...]]:
    """Return every class beside everything that may accompany it, and notes on what is left out.

    A companion that all images of a scope have, or none, is left out; so is a class.

    Args:
        images: of all splits.
        classes: the names of their classes.

    Returns:
        The co-occurrences, those first whose interval is farthest from 1, those with few images
        last; and the notes.

    """
    found: list[Cooccurrence] = []
    notes: list[str] = []
    for scope, splits in SCOPES.items():
        here = [one for one in images if one.split in splits]
        if here:
            _count_scope(scope, here, classes, found, notes)
    return tuple(sorted(found, key=_order)), tuple(notes)


def _order(one: Cooccurrence) -> tuple[bool, bool, float, bool, float]:
    distance = _distance(one)
    return not one.strong, one.few, -distance, distance > 0 and one.lift < 1, -abs(one.lift - 1)


def _distance(one: Cooccurrence) -> float:
    """Return how far the interval is from 1; 0 if it includes 1.

    It is a logarithm of P(class | companion) / P(class | no companion), which does not depend on
    which of two is called the companion.
    """
    if one.low <= 1 <= one.high:
        return 0.0
    end, share = one.low if one.low > 1 else one.high, one.with_companion / one.images
    if end == 0 or share * end >= 1:
        return math.inf
    # Rounded, so that of two that exclude each other the one with the higher lift comes first.
    return round(abs(math.log(end * (1 - share) / (1 - share * end))), 9)


def _count_scope(
    scope: str,
    images: Sequence[ImageFacts],
    classes: Sequence[str],
    found: list[Cooccurrence],
    notes: list[str],
) -> None:
    held = np.array([one.held for one in images], bool).reshape(len(images), len(classes))
    groups = group_numbers(images)
    for number, name in enumerate(classes):
        count = int(held[:, number].sum())
        if count in (0, len(images)):
            which = "no image" if count == 0 else "every image"
            notes.append(f"{scope}: {which} holds {name}, so nothing can tell it apart")
    rare: Counter[CompanionKind] = Counter()
    of_same: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    pairs: list[_Pair] = []
    for kind, companion, has, known in companions(images, classes):
        if has.sum() < FEWEST:
            rare[kind] += 1
            continue
        signature, opposite = (
            np.packbits(np.concatenate([which, known])).tobytes() for which in (has, ~has & known)
        )
        for number, name in enumerate(classes):
            if kind is CompanionKind.OTHER_CLASS and companion == name:
                continue
            pair = _pair(held[known, number], has[known], groups[known])
            if pair is not None:
                # The lists are filled by the companions that follow.
                same, others = of_same[name, signature], of_same[name, opposite]
                pairs.append(replace(pair, named=(name, kind, companion), same=(same, others)))
                same.append(_named(kind, companion))
    found += _counted(scope, pairs)
    rare.pop(CompanionKind.LOOK, None)  # of few images no quarter has enough
    for kind, count in rare.items():
        said = f"{kind}: 1 value has" if count == 1 else f"{kind}: {count:,} values have"
        notes.append(f"{scope}, {said} fewer than {FEWEST} images; left out")


def companions(
    images: Sequence[ImageFacts], classes: Sequence[str]
) -> Iterator[tuple[CompanionKind, str, np.ndarray, np.ndarray]]:
    """Yield everything that some of these images have: kind, name, bool [N] has, bool [N] known."""
    every = np.ones(len(images), bool)
    for kind in CompanionKind:
        places: dict[str, list[int]] = defaultdict(list)
        known = every.copy()
        for place, image in enumerate(images):
            names = _companions_of(image, kind, classes)
            known[place] = names is not None
            for name in names or ():
                places[name].append(place)
        for name in sorted(places):
            has = np.zeros(len(images), bool)
            has[places[name]] = True
            yield kind, name, has, known


def has_companion(image: ImageFacts, one: Cooccurrence, classes: Sequence[str]) -> bool | None:
    """Return whether an image has the companion of a co-occurrence; None where it is unknown."""
    names = _companions_of(image, one.kind, classes)
    return None if names is None else one.companion in names


def _companions_of(
    image: ImageFacts, kind: CompanionKind, classes: Sequence[str]
) -> Sequence[str] | None:
    """Return all of one kind that an image has; None where that is unknown."""
    match kind:
        case CompanionKind.CONTEXT:
            return image.contexts
        case CompanionKind.OTHER_CLASS:
            return [n for n, is_so in zip(classes, image.held, strict=True) if is_so]
        case CompanionKind.SOURCE:
            return [image.source] if image.source else []
        case CompanionKind.CAMERA:
            return [image.camera] if image.camera else []
        case CompanionKind.FLAG:
            return image.flags
        case CompanionKind.LOOK:
            return image.looks
        case CompanionKind.SIZE:
            return [f"{image.width}x{image.height}"]
        case CompanionKind.ENDING:
            ending = PurePath(image.identifier).suffix.lower()
            return [".jpg" if ending == ".jpeg" else ending] if ending else []


@dataclass(frozen=True)
class _Pair:
    """The counts of a class and a companion.

    Attributes:
        plain: images with the companion, and the others.
        effective: both, as if images were independent.
        groups: of the images with the companion, and of all.
        named: the class, the kind of the companion, and its name.
        same: companions of the same images, this one too, and of all the others.

    """

    plain: tuple[Counted, Counted]
    effective: tuple[Counted, Counted]
    groups: tuple[int, int]
    named: tuple[str, CompanionKind, str] = ("", CompanionKind.FLAG, "")
    same: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))


def _pair(holds: np.ndarray, has: np.ndarray, groups: np.ndarray) -> _Pair | None:
    """Return the counts of bool [N] and bool [N]; None where all images or none are so."""
    images, with_class, with_companion = len(holds), int(holds.sum()), int(has.sum())
    if with_class in (0, images) or with_companion in (0, images):
        return None
    both = int((holds & has).sum())
    return _Pair(
        (Counted(both, with_companion), Counted(with_class - both, images - with_companion)),
        (effective(holds[has], groups[has]), effective(holds[~has], groups[~has])),
        (_number_of(groups[has]), _number_of(groups)),
    )


def _number_of(groups: np.ndarray) -> int:
    return int((np.bincount(groups) > 0).sum())


def _counted(scope: str, pairs: Sequence[_Pair]) -> Iterator[Cooccurrence]:
    """Yield the co-occurrences of pairs; all intervals are found at once."""
    share = np.array([a.images / (a.images + b.images) for a, b in (pair.plain for pair in pairs)])
    low, high = _intervals([pair.effective for pair in pairs], share)
    # Of many co-occurrences some look strong by chance (Bonferroni).
    surely = 1 - 0.05 / max(1, len(pairs))
    low_of_images, high_of_images = _intervals([pair.plain for pair in pairs], share, surely)
    for place, pair in enumerate(pairs):
        companion, rest = pair.plain
        class_name, kind, name = pair.named
        yield Cooccurrence(
            scope=scope,
            class_name=class_name,
            kind=kind,
            companion=name,
            both=int(companion.holding),
            with_companion=int(companion.images),
            with_class=int(companion.holding + rest.holding),
            images=int(companion.images + rest.images),
            groups_with=pair.groups[0],
            groups=pair.groups[1],
            lift=lift(companion, rest),
            low=float(low[place]),
            high=float(high[place]),
            by_chance=bool(low_of_images[place] <= 1 <= high_of_images[place]),
            same_images=tuple(o for o in pair.same[0] if o != _named(kind, name)),
            other_images=tuple(pair.same[1]),
        )


def _intervals(
    counts: Sequence[tuple[Counted, Counted]], share: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    first, second = (
        Counted(
            np.array([pair[side].holding for pair in counts], np.float64),
            np.array([pair[side].images for pair in counts], np.float64),
        )
        for side in (0, 1)
    )
    return lift_intervals(first, second, share, confidence)
