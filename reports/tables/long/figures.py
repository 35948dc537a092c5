"""A figure of many trials at once, for a table with a row for each."""

from collections.abc import Sequence

import numpy as np

from reports.results.stored import KeptFigures, StackedFigures, TrialRecord


class TrialValues:
    """Figures of trials on the student's maps, NaN where a trial has none.

    Args:
        trials: in the order of the table's rows.

    """

    def __init__(self, trials: Sequence[TrialRecord]) -> None:
        self._trials = trials
        kept = [one.figures if isinstance(one.figures, KeptFigures) else None for one in trials]
        self._stacked = StackedFigures(kept)
        self._apart = [
            (place, trial)
            for place, (trial, figures) in enumerate(zip(trials, kept, strict=True))
            if trial.figures is not None and figures is None
        ]

    def __call__(self, name: str, class_name: str, rule: str, split: str = "test") -> np.ndarray:
        """Return a column of the outcomes, float64 [len(trials)]."""
        values = self._stacked.outcome(("student", class_name, split, rule), name)
        for place, trial in self._apart:
            values[place] = trial.figure(name, rule=rule, class_name=class_name, split=split)
        return values

    def never_predicted(self, class_name: str, rule: str) -> np.ndarray:
        """Return `TrialRecord.never_predicted` of each trial, bool [len(trials)]."""
        held = self("images_with_class", class_name, rule)
        gated = self("images_with_class_gated", class_name, rule)
        found = (held > 0) & (gated == held)
        for place in np.flatnonzero(found).tolist():
            found[place] = self._trials[place].gating != "none"
        return found
