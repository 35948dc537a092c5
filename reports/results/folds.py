"""The folds of a study, and over how many images and groups its figures are."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.ledger.parts import read_arrow
from reports.storage import Location
from wsss_core.errors import as_input_error

_COLUMNS = ("image", "group", "split", "labelled")


@dataclass(frozen=True)
class FoldRecord:
    """A fold of a study.

    Attributes:
        number: from 1.
        by: what is held out together: "group", "source" or "camera".
        alone: whether each unit is held out by itself.
        held_out: names of the units that are tested on and not trained on; the first of many.
        held_out_count: how many they are.
        images: "train", "tune" and "test" -> how many images.
        groups: the same -> how many groups they are of.
        absent: the same -> the classes that none of the images holds, where there are any.

    """

    number: int
    by: str
    alone: bool
    held_out: tuple[str, ...]
    held_out_count: int
    images: Mapping[str, int]
    groups: Mapping[str, int]
    absent: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of what is held out, or how many units there are."""
        if self.held_out_count == 1:
            return self.held_out[0]
        return f"{self.held_out_count} {self.by}s"


def fold_records(rows: Iterable[Mapping[str, Any]]) -> tuple[FoldRecord, ...]:
    """Return the folds that rows of the plan describe, in order.

    Raises:
        InputError: a description is no JSON object.

    """
    about = {int(row["fold"]): row["fold_about"] for row in rows if row.get("fold") is not None}
    found = []
    for number, text in sorted(about.items()):
        with as_input_error(f"fold {number} of the plan cannot be read", ValueError, KeyError):
            known = json.loads(text)
            found.append(
                FoldRecord(
                    number,
                    known["by"],
                    known["k"] == "all",
                    tuple(known["held_out"]),
                    known["held_out_count"],
                    known["images"],
                    known["groups"],
                    known["absent"],
                )
            )
    return tuple(found)


@dataclass(frozen=True)
class ScoredImages:
    """How many test images figures are over, and how many groups; all 0 where that is unknown."""

    images: int = 0
    groups: int = 0
    images_with_class: int = 0
    groups_with_class: int = 0

    @property
    def dependent(self) -> bool:
        """Whether images share groups, so that they are no independent draws."""
        return self.groups < self.images


def scored_images(results: Location, keys: Iterable[str]) -> ScoredImages:
    """Count the test images of some trials, each image once.

    Args:
        results: the results folder.
        keys: the key of a trial; in a study with folds, of one trial for each fold.

    """
    table = read_arrow(results, "scores", keys=list(keys), columns=_COLUMNS)
    names, groups, splits, labelled = (table[name].to_pylist() for name in _COLUMNS)
    found: dict[str, str] = {}
    holding: set[str] = set()
    for name, group, split, holds in zip(names, groups, splits, labelled, strict=True):
        if split == "test":
            found[name] = group
            if holds:
                holding.add(name)
    return ScoredImages(
        len(found),
        len(set(found.values())),
        len(holding),
        len({found[name] for name in holding}),
    )
