"""How long work takes, learnt from work that has ended.

`wsss plan` learns from the ledger, the driver's progress lines from the training runs that have
just ended, `wsss status` from the trials of the plan. All three predict by one rule: the mean of
the work that is most alike.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A piece of work whose time is predicted or learnt from.

    Attributes:
        names: the kinds it belongs to, the narrowest first.
        size: time grows in proportion to it, for example passes over the training images.

    """

    names: tuple[Hashable, ...]
    size: float = 1.0


class Rates:
    """Mean seconds per size of each kind of work.

    >>> rates = Rates()
    >>> rates.learn(Work(("ResNet-50", "any network"), size=10), seconds=50.0)
    >>> rates.learn(Work(("ViT-B/16", "any network"), size=10), seconds=90.0)
    >>> rates.predict(Work(("ResNet-50", "any network"), size=4))
    20.0
    >>> rates.predict(Work(("ViT-S/16", "any network"), size=4))
    28.0
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = defaultdict(float)
        self._count: Counter[Hashable] = Counter()

    def learn(self, work: Work, seconds: float) -> None:
        """Count the seconds that a piece of work took under each of its names."""
        for name in work.names:
            self._seconds[name] += seconds / work.size
            self._count[name] += 1

    def knows(self, name: Hashable) -> bool:
        """Return whether any work of a kind was learnt from."""
        return name in self._count

    def predict(self, work: Work) -> float | None:
        """Return the seconds a piece of work will take, by the narrowest kind that is known."""
        for name in work.names:
            if name in self._count:
                return work.size * self._seconds[name] / self._count[name]
        return None

    def total(self, works: Mapping[Work, int]) -> float | None:
        """Return the seconds of all pieces of work together; None if one of them is not known.

        Args:
            works: how often each piece of work is to be done.

        """
        found = [(count, self.predict(work)) for work, count in works.items() if count]
        known = [count * seconds for count, seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None
