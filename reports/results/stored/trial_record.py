"""One trial of a study: how it ended, and what was measured of it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from reports.pairing import Pair, pair_of
from reports.results.outcomes import Numbers, TrialFigures
from reports.results.stored.alike import KeptFigures


@dataclass(frozen=True)
class TrialRecord:
    """One configuration under one seed, in a study with folds on one fold.

    Attributes:
        key: the trial's key.
        configuration: the name of its configuration.
        seed: its seed.
        status: `ok`, `failed`, `collapsed`, `missing` if the ledger has no result, `cancelled`
            if it has none and the row was cancelled, or `not run` if
            its chain lacks something.
        row: its row of the table `trials`, or of `refined` under a chain, empty values as None;
            empty if missing.
        figures: the figures derived from its scores; None without scores.
        diagnosed: its diagnostics, where they are others than those among its figures.
        fold: the number of its fold; None in a study without folds.

    """

    key: str
    configuration: str
    seed: int
    status: str
    row: Mapping[str, Any] = field(default_factory=dict)
    figures: TrialFigures | None = None
    diagnosed: pd.DataFrame | None = None
    fold: int | None = None

    @property
    def diagnostics(self) -> pd.DataFrame | None:
        """See `reports.results.diagnostics`; None without scores."""
        if self.diagnosed is None and isinstance(self.figures, KeptFigures):
            return self.figures.diagnostics
        return self.diagnosed

    @property
    def fingerprint(self) -> int | None:
        """See `KeptFigures.fingerprint`; None where the figures are not kept."""
        return self.figures.fingerprint if isinstance(self.figures, KeptFigures) else None

    @property
    def pair(self) -> Pair:
        """What pairs it with trials of other configurations."""
        return pair_of(self.seed, self.fold)

    def diagnostic(self, name: str, *, class_name: str, network: str = "student") -> float:
        """Return a diagnostic; NaN if there is none."""
        if self.diagnosed is None and isinstance(self.figures, KeptFigures):
            return self.figures.diagnostic(name, network, class_name)
        if self.diagnostics is None:
            return math.nan
        return self._diagnosed.at((network, class_name), name)

    @cached_property
    def _diagnosed(self) -> Numbers:
        assert self.diagnostics is not None
        return Numbers.of(self.diagnostics, ("network", "class_name"))

    @cached_property
    def gating(self) -> str | None:
        """How a map becomes empty, `none` or `predicted`; None if the ledger does not say."""
        settings = json.loads(self.row.get("settings") or "{}")
        cam = settings.get("cam") if isinstance(settings, dict) else None
        return cam.get("gating") if isinstance(cam, dict) else None

    def never_predicted(
        self, class_name: str, rule: str, *, network: str = "student", split: str = "test"
    ) -> bool:
        """Return whether gating emptied the map of every image of a split that holds a class.

        Args:
            class_name: a class, or the mean over classes for the images that hold any.
            rule: the threshold rule; oracles see ungated maps where the ledger holds them.
            network: the network.
            split: the split.

        """
        if self.gating == "none":
            return False
        held, gated = (
            self.figure(name, rule=rule, class_name=class_name, network=network, split=split)
            for name in ("images_with_class", "images_with_class_gated")
        )
        return held > 0 and gated == held

    def figure(
        self,
        name: str,
        *,
        rule: str,
        class_name: str,
        network: str = "student",
        split: str = "test",
    ) -> float:
        """Return a column of the outcomes; NaN if there is none."""
        if self.figures is None:
            return math.nan
        return self.figures.value(name, network, class_name, split, rule)
