"""What pairs trials of different configurations: the seed, and in a study with folds the fold."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wsss_core.errors import as_input_error


class FoldedSeed(NamedTuple):
    """A seed on a fold.

    Example:
        >>> f"seed {FoldedSeed(0, 2)}"
        'seed 0, fold 2'

    """

    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.seed}, fold {self.fold}"


Pair = int | FoldedSeed
"""The seed of a trial; in a study with folds, its seed and fold."""


def pair_of(seed: int, fold: int | None) -> Pair:
    """Return what pairs a trial of a seed and, in a study with folds, a fold."""
    return seed if fold is None else FoldedSeed(seed, fold)


def fold_of(pair: Pair) -> int | None:
    """Return the fold of a pair; None without folds."""
    return pair.fold if isinstance(pair, FoldedSeed) else None


def in_words(pairs: Iterable[Pair]) -> str:
    """Say what means over pairs are over.

    >>> in_words([0, 1]), in_words([FoldedSeed(0, 1)])
    ('seeds', 'folds')
    """
    return "folds" if any(isinstance(pair, FoldedSeed) for pair in pairs) else "seeds"


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
class FusionRecord:
    """What a row without training is made of.

    Attributes:
        how: how maps or, by "soup", weights are fused.
        of: the names of its rows.
        labels: the network of each as tables print it.
        seeds: how many seeds of each; above 1 in an ensemble over seeds, whose result is paired
            by the first seed of its block.

    """

    how: str
    of: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: int

    @classmethod
    def of_settings(cls, settings: str) -> "FusionRecord":
        """Return what the settings of a fused row say, JSON as the plan holds them."""
        found = json.loads(settings)["fuse"]
        return cls(found["how"], tuple(found["of"]), tuple(found["labels"]), found["seeds"])

    @property
    def fuses_maps(self) -> bool:
        """Whether the row has no network of its own, but the maps of several."""
        return self.how != "soup"


@dataclass(frozen=True)
class ScoredImages:
    """How many test images figures are over, and how many groups; all 0 where that is unknown.

    Attributes:
        images: each counted once.
        groups: of the images.
        images_with_class: images that carry a label.
        groups_with_class: groups of which an image does.
        of_class: class -> groups of images that carry its label, and groups of other images.

    """

    images: int = 0
    groups: int = 0
    images_with_class: int = 0
    groups_with_class: int = 0
    of_class: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def dependent(self) -> bool:
        """Whether images share groups, so that they are no independent draws."""
        return self.groups < self.images
