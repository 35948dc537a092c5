"""A figure of all trials of a study at once, by configuration and seed."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from reports.pairing import Pair
from reports.results.stored.alike import AlikeTrials, KeptFigures

ByPair = dict[Pair, float]
"""A figure by seed, or by seed and fold."""


class StackedFigures:
    """Figures of trials, read from the arrays that hold them.

    Args:
        figures: of each trial, in the order in which values are wanted; None for a trial without.

    """

    def __init__(self, figures: Sequence[KeptFigures | None]) -> None:
        self._count = len(figures)
        groups: dict[int, tuple[AlikeTrials, list[int], list[int]]] = {}
        for place, one in enumerate(figures):
            if one is not None:
                _, at, places = groups.setdefault(id(one.alike), (one.alike, [], []))
                at.append(place)
                places.append(one.place)
        self._groups = [(g, np.array(at), np.array(places)) for g, at, places in groups.values()]

    def outcome(self, row: tuple[str, str, str, str], name: str) -> np.ndarray:
        """Return a column of one outcome, float64 [len(figures)]; NaN where there is none.

        Args:
            row: network, class, split and rule.
            name: the column.

        """
        return self._values(lambda alike: alike.outcome(row, name))

    def diagnostic(self, row: tuple[str, str], name: str) -> np.ndarray:
        """Return a diagnostic, float64 [len(figures)]; NaN where there is none.

        Args:
            row: network and class.
            name: the diagnostic.

        """
        return self._values(lambda alike: alike.diagnostic(row, name))

    def _values(self, column: Callable[[AlikeTrials], np.ndarray | None]) -> np.ndarray:
        values = np.full(self._count, np.nan)
        for alike, at, places in self._groups:
            if (found := column(alike)) is not None:
                values[at] = found[places]
        return values


class FiguresByPair:
    """Figures of the trials of configurations; each figure is collected once for all trials.

    Args:
        trials: configuration, seed (and fold) and figures of each trial, those of a configuration
            one after another, in the order in which values are wanted; None without scores.

    """

    def __init__(self, trials: Iterable[tuple[str, Pair, KeptFigures | None]]) -> None:
        figures: list[KeptFigures] = []
        self._pairs: list[Pair] = []
        self._spans: dict[str, slice] = {}
        for name, pair, one in trials:
            if one is not None:
                start = self._spans[name].start if name in self._spans else len(figures)
                figures.append(one)
                self._pairs.append(pair)
                self._spans[name] = slice(start, len(figures))
        self._stacked = StackedFigures(figures)
        self._found: dict[tuple[str, ...], np.ndarray] = {}

    def outcome(self, configuration: str, row: tuple[str, str, str, str], name: str) -> ByPair:
        """Return a column of one outcome of a configuration's trials, without NaN.

        Args:
            configuration: its name.
            row: network, class, split and rule.
            name: the column.

        """
        key = (*row, name)
        if key not in self._found:
            self._found[key] = self._stacked.outcome(row, name)
        return self._of(configuration, self._found[key])

    def diagnostic(self, configuration: str, row: tuple[str, str], name: str) -> ByPair:
        """Return a diagnostic of a configuration's trials, without NaN.

        Args:
            configuration: its name.
            row: network and class.
            name: the diagnostic.

        """
        key = (*row, name)
        if key not in self._found:
            self._found[key] = self._stacked.diagnostic(row, name)
        return self._of(configuration, self._found[key])

    def _of(self, configuration: str, values: np.ndarray) -> ByPair:
        if (span := self._spans.get(configuration)) is None:
            return {}
        pairs = zip(self._pairs[span], values[span].tolist(), strict=True)
        return {pair: value for pair, value in pairs if value == value}
