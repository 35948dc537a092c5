"""A figure of all trials of a study at once, by configuration and seed."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from reports.pairing import Pair
from reports.results.stored.alike import AlikeTrials, KeptFigures

ByPair = dict[Pair, float]
"""A figure by seed, or by seed and fold."""


class FiguresByPair:
    """Figures of trials, read from the arrays that hold them, each figure once.

    Args:
        trials: configuration, seed (and fold) and figures of each trial, in the order in which
            values are wanted; None for a trial without scores.

    """

    def __init__(self, trials: Iterable[tuple[str, Pair, KeptFigures | None]]) -> None:
        self._names: list[str] = []
        self._pairs: list[Pair] = []
        groups: dict[int, tuple[AlikeTrials, list[int], list[int]]] = {}
        for name, pair, figures in trials:
            if figures is not None:
                _, at, places = groups.setdefault(id(figures.alike), (figures.alike, [], []))
                at.append(len(self._names))
                places.append(figures.place)
                self._names.append(name)
                self._pairs.append(pair)
        self._groups = [(g, np.array(at), np.array(places)) for g, at, places in groups.values()]
        self._found: dict[tuple[str, ...], dict[str, ByPair]] = {}

    def outcome(self, row: tuple[str, str, str, str], name: str) -> dict[str, ByPair]:
        """Return a column of one outcome by configuration, without NaN.

        Args:
            row: network, class, split and rule.
            name: the column.

        """
        return self._once((*row, name), lambda alike: alike.outcome(row, name))

    def diagnostic(self, row: tuple[str, str], name: str) -> dict[str, ByPair]:
        """Return a diagnostic by configuration, without NaN.

        Args:
            row: network and class.
            name: the diagnostic.

        """
        return self._once((*row, name), lambda alike: alike.diagnostic(row, name))

    def _once(
        self, key: tuple[str, ...], column: Callable[[AlikeTrials], np.ndarray | None]
    ) -> dict[str, ByPair]:
        if key not in self._found:
            self._found[key] = self._by_name(column)
        return self._found[key]

    def _by_name(self, column: Callable[[AlikeTrials], np.ndarray | None]) -> dict[str, ByPair]:
        values = np.full(len(self._names), np.nan)
        for alike, at, places in self._groups:
            if (found := column(alike)) is not None:
                values[at] = found[places]
        by_name: dict[str, ByPair] = {}
        known: Sequence[int] = np.flatnonzero(~np.isnan(values)).tolist()
        numbers = values.tolist()
        for place in known:
            by_name.setdefault(self._names[place], {})[self._pairs[place]] = numbers[place]
        return by_name
