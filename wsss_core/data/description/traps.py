"""The trap that follows from each strong lift, in plain sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsss_core.data.description.cooccurrence import SCOPES, CompanionKind, Cooccurrence


@dataclass(frozen=True)
class Trap:
    """A strong lift, and what may come of it.

    Attributes:
        cooccurrence: the class and its companion; in train if it is strong there.
        other: the same over the other splits, if it is known there.
        sentence: what a network may learn in place of the class, and what to do.

    """

    cooccurrence: Cooccurrence
    other: Cooccurrence | None
    sentence: str


def traps(cooccurrences: Sequence[Cooccurrence]) -> tuple[Trap, ...]:
    """Return a trap for each strong lift, in their order; those in train come first.

    Companions of the same images make one trap, and so do train and the other splits. Another class
    that is rare beside this one is none: where training images have one label it is so by
    construction.
    """
    found = []
    covered: set[tuple[str, str]] = set()
    for scope in SCOPES:
        for one in cooccurrences:
            by_construction = one.kind is CompanionKind.OTHER_CLASS and one.lift < 1
            if one.scope != scope or not one.strong or by_construction:
                continue
            alike = (one.name, *one.same_images, *one.other_images)
            names = {(one.class_name, name) for name in alike}
            if names & covered:
                continue
            covered |= names
            other = next((o for o in cooccurrences if _is_other(o, one)), None)
            found.append(Trap(one, other, _sentence(one, other)))
    return tuple(found)


def _is_other(other: Cooccurrence, one: Cooccurrence) -> bool:
    same = (other.class_name, other.name) == (one.class_name, one.name)
    return same and other.scope != one.scope


def _sentence(one: Cooccurrence, other: Cooccurrence | None) -> str:
    parts = [_counts(one), _consequence(one), _remedy(one)]
    if one.same_images:
        parts.append(f"The same images have {_listed(one.same_images)}.")
    if one.other_images:
        parts.append(f"All the others have {_listed(one.other_images)}.")
    if one.few:
        fewer = min(one.with_companion, one.images - one.with_companion)
        parts.append(f"These are few images ({fewer}), so the figures are rough.")
    elif one.few_groups:
        groups = "1 group" if one.groups_with == 1 else f"{one.groups_with} groups"
        parts.append(f"Its images are of {groups} only, so new data may differ.")
    parts += [] if other is None else [_elsewhere(one, other)]
    return " ".join(parts)


def _counts(one: Cooccurrence) -> str:
    where = {
        CompanionKind.CONTEXT: f"with {one.companion} in sight",
        CompanionKind.SOURCE: f"from source {one.companion}",
        CompanionKind.CAMERA: f"of camera {one.companion}",
        CompanionKind.FLAG: f"with flag {one.companion}",
        CompanionKind.LOOK: f"that look {one.companion}",
        CompanionKind.SIZE: f"of {one.companion} pixels",
        CompanionKind.ENDING: f"in {one.companion} files",
        CompanionKind.OTHER_CLASS: f"with {one.companion}",
    }[one.kind]
    return (
        f"In {one.scope}, {one.both:,} of {one.with_companion:,} images {where} hold "
        f"{one.class_name} ({_percent(one.share_with)}), and {_percent(one.share_without)} of the "
        "others."
    )


def _consequence(one: Cooccurrence) -> str:
    sign = one.class_name if one.lift > 1 else f"the absence of {one.class_name}"
    rate = f"by it alone {_percent(one.balanced_accuracy)} balanced accuracy is reached"
    said = {
        CompanionKind.CONTEXT: f"A network may take {one.companion} for {sign}",
        CompanionKind.SOURCE: f"A network may recognise the source and take it for {sign}",
        CompanionKind.CAMERA: f"A network may recognise the camera and take it for {sign}",
        CompanionKind.FLAG: f"A network may take what the flag stands for as a sign of {sign}",
        CompanionKind.LOOK: f"If it is not the class itself that looks so, a network may take time "
        f"of day, weather or camera for {sign}",
        CompanionKind.SIZE: f"A network may take traces of the resizing for {sign}",
        CompanionKind.ENDING: f"A network may take traces of the compression for {sign}",
        CompanionKind.OTHER_CLASS: f"A network may take {one.companion} for {sign}",
    }[one.kind]
    return f"{said}; {rate}."


def _remedy(one: Cooccurrence) -> str:
    against = one.with_companion - one.both if one.lift > 1 else one.both
    verb = "speaks" if against <= 1 else "speak"
    counter = f"{_images(against)} {verb} against it"
    if one.kind is CompanionKind.CONTEXT:
        return f"{counter}; after training, see how much of each CAM lies on the context."
    if one.kind is CompanionKind.OTHER_CLASS:
        return f"{_images(against)} with {one.companion} alone can tell the two apart."
    if one.kind in (CompanionKind.SOURCE, CompanionKind.CAMERA):
        return f"{counter}; score it on a {one.kind} that training has not seen."
    return f"{counter}; balance the training images, or score such images apart."


def _elsewhere(one: Cooccurrence, other: Cooccurrence) -> str:
    """Say whether the scores would show that a network fell for it."""
    lifts = f"its lift is {one.lift:.2f} in {one.scope} and {other.lift:.2f} in {other.scope}"
    same_way = (one.lift > 1) == (other.lift > 1)
    if other.strong and same_way:
        return f"Scores may hide it, as {lifts}."
    return f"Scores may show it, as {lifts}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _images(count: int) -> str:
    return "No image" if count == 0 else "1 image" if count == 1 else f"{count:,} images"


def _percent(share: float) -> str:
    """Write a share in percent, with more digits near 0 and 100 where it is neither.

    >>> _percent(0.5), _percent(0.002), _percent(1.0)
    ('50 %', '0.2 %', '100 %')
    """
    from_the_end = min(share, 1 - share)
    digits = 0 if from_the_end == 0 or from_the_end >= 0.01 else 1 if from_the_end >= 0.001 else 2
    return f"{100 * share:.{digits}f} %"
