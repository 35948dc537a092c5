"""What pairs trials of different configurations: the seed, and in a study with folds the fold."""

from collections.abc import Iterable
from typing import NamedTuple


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
