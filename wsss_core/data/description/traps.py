"""The trap that follows from each strong lift, in plain sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsss_core.data.description.cooccurrence import CompanionKind, Cooccurrence


@dataclass(frozen=True)
class Trap:
    """A strong lift, and what may come of it.

    Attributes:
        cooccurrence: the class and its companion.
        sentence: what a network may learn in place of the class, and what to do.

    """

    cooccurrence: Cooccurrence
    sentence: str


def traps(cooccurrences: Sequence[Cooccurrence]) -> tuple[Trap, ...]:
    """Return a trap for each strong lift, in their order.

    Companions of the same images make one trap. Another class that is rare beside this one is none:
    where every training image has one label it is so by construction.
    """
    found = []
    seen: set[tuple[str, str, str]] = set()
    for one in cooccurrences:
        if not one.strong or (one.kind is CompanionKind.OTHER_CLASS and one.lift < 1):
            continue
        others = {(one.scope, one.class_name, name) for name in one.same_images}
        if others & seen:
            continue
        seen.add((one.scope, one.class_name, one.name))
        same = [
            other.name
            for other in cooccurrences
            if (other.scope, other.class_name) == (one.scope, one.class_name)
            and one.name in other.same_images
        ]
        seen |= {(one.scope, one.class_name, name) for name in same} | others
        found.append(Trap(one, _sentence(one, [*one.same_images, *same])))
    return tuple(found)


def _sentence(one: Cooccurrence, same: Sequence[str]) -> str:
    parts = [_counts(one), _consequence(one), _remedy(one)]
    if same:
        parts.append(f"The same images, or all the others, have {', '.join(dict.fromkeys(same))}.")
    if one.few:
        fewer = min(one.with_companion, one.images - one.with_companion)
        parts.append(f"These are few images ({fewer}), so the figures are rough.")
    elif one.few_groups:
        groups = "1 group" if one.groups_with == 1 else f"{one.groups_with} groups"
        parts.append(f"Its images are of {groups} only, so new data may differ.")
    return " ".join(parts)


def _counts(one: Cooccurrence) -> str:
    where = {
        CompanionKind.CONTEXT: f"with {one.companion} in sight",
        CompanionKind.SOURCE: f"in source {one.companion}",
        CompanionKind.CAMERA: f"at camera {one.companion}",
        CompanionKind.FLAG: f"with flag {one.companion}",
        CompanionKind.SIZE: f"at {one.companion} pixels",
        CompanionKind.ENDING: f"in {one.companion} files",
        CompanionKind.OTHER_CLASS: f"with {one.companion}",
    }[one.kind]
    holding = "hold" if one.both != 1 else "holds"
    return (
        f"{one.scope}: {where}, {one.both:,} of {one.with_companion:,} images {holding} "
        f"{one.class_name} ({_percent(one.share_with)}), elsewhere {_percent(one.share_without)}."
    )


def _consequence(one: Cooccurrence) -> str:
    sign = one.class_name if one.lift > 1 else f"the absence of {one.class_name}"
    rate = f"alone it is right at {_percent(one.balanced_accuracy)} balanced accuracy"
    said = {
        CompanionKind.CONTEXT: f"A network may take {one.companion} for {sign}",
        CompanionKind.SOURCE: f"A network may recognise the source and take it for {sign}",
        CompanionKind.CAMERA: f"A network may recognise the camera and take it for {sign}",
        CompanionKind.FLAG: f"A network may take what the flag stands for as a sign of {sign}",
        CompanionKind.SIZE: f"A network may take traces of the resizing for {sign}",
        CompanionKind.ENDING: f"A network may take traces of the compression for {sign}",
        CompanionKind.OTHER_CLASS: f"A network may take {one.companion} for {sign}",
    }[one.kind]
    return f"{said}; {rate}."


def _remedy(one: Cooccurrence) -> str:
    against = one.with_companion - one.both if one.lift > 1 else one.both
    counter = _images(against)
    if one.kind is CompanionKind.CONTEXT:
        look = "after training, see how much of each CAM lies on the context"
        return f"{counter} speak against it; {look}." if against else f"No image does; {look}."
    if one.kind is CompanionKind.OTHER_CLASS:
        return f"{counter} hold {one.companion} alone, and tell the two apart."
    if one.kind in (CompanionKind.SOURCE, CompanionKind.CAMERA):
        return f"{counter} speak against it; score it on a {one.kind} that training has not seen."
    return f"{counter} speak against it; balance the training images, or score such images apart."


def _images(count: int) -> str:
    return "No image" if count == 0 else "1 image" if count == 1 else f"{count:,} images"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.005 <= share <= 0.995 else _fine(share)


def _fine(share: float) -> str:
    return f"{100 * share:.1f} %" if 0.0005 <= share <= 0.9995 else f"{100 * share:.2f} %"
