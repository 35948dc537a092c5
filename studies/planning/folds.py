"""The folds of a plan in words, and as the ledger keeps them."""

from collections.abc import Sequence

from studies.formatting import aligned
from studies.spec.data import Folds
from studies.store import canonical
from wsss_core.data.folds import Fold
from wsss_core.data.image_set import SPLITS

MOST_NAMES = 20
"""The most names of held-out groups that the ledger keeps of a fold; there may be thousands."""

MOST_FOLD_ROWS = 30
"""The most folds that a plan prints."""


def fold_record(fold: Fold, folds: Folds | None) -> str:
    """Return a fold as the ledger's column `fold_about` holds it."""
    return canonical(
        {
            "by": folds.by if folds else None,
            "k": folds.k if folds else None,
            "held_out": list(fold.held_out[:MOST_NAMES]),
            "held_out_count": len(fold.held_out),
            "images": {role: len(fold.roles[role]) for role in SPLITS},
            "groups": dict(fold.groups),
            "absent": {role: list(names) for role, names in fold.absent.items() if names},
            "unused": fold.unused,
        }
    )


def fold_lines(folds: Sequence[Fold]) -> list[str]:
    """Return a table of folds as lines: what is held out, images and groups of each role."""
    if not folds:
        return []
    rows = [["fold", *SPLITS, "unused", "held out"]]
    for fold in folds[:MOST_FOLD_ROWS]:
        images = [_counted(len(fold.roles[role]), fold.groups[role]) for role in SPLITS]
        rows.append([str(fold.number), *images, str(fold.unused), held_out(fold.held_out)])
    lines = aligned(rows).splitlines()
    if len(folds) > MOST_FOLD_ROWS:
        lines.append(f"... and {len(folds) - MOST_FOLD_ROWS} more folds")
    if unknown := folds[0].without_unit:
        lines.append(
            f"{unknown} training images are of no known unit; every fold may train on them"
        )
    return lines + fold_warnings(folds)


def fold_warnings(folds: Sequence[Fold]) -> list[str]:
    """Return a sentence for each class that a fold lacks in a role."""
    found: dict[tuple[str, str], list[int]] = {}
    for fold in folds:
        for role, names in fold.absent.items():
            for name in names:
                found.setdefault((role, name), []).append(fold.number)
    return [
        f"class {name!r} is in no {role} image of fold{'s' if len(numbers) > 1 else ''} "
        f"{', '.join(map(str, numbers))}; {_CONSEQUENCE[role]}"
        for (role, name), numbers in found.items()
    ]


_CONSEQUENCE = {
    "train": "its networks cannot learn the class",
    "tune": "its threshold cannot be tuned, so it has no figure at the tuned threshold",
    "test": "it has no IoU of the class",
}


def held_out(names: Sequence[str], most: int = 4) -> str:
    """Return the names of held-out groups, the first of many.

    >>> held_out(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _counted(images: int, groups: int) -> str:
    return f"{images}" if images == groups else f"{images} of {groups} groups"
