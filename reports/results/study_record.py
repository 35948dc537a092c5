"""What the ledger knows of one study: configurations, seeds, how each trial ended, its figures."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reports.results.outcomes import Numbers, TrialFigures
from reports.results.panel_parts import PanelParts

PLAIN, OPTIMAL = "none", "optimal threshold"
"""Rows beside refinement chains: the plain CAM, and its cut where each image's mask would have it.
"""


@dataclass(frozen=True)
class ConfigurationRecord:
    """One row of the plan, common to its seeds."""

    name: str
    position: int
    paradigm: str
    metric: str | None
    level: str | None
    representation: str | None
    weight: float | None
    student: str
    teacher: str | None
    baseline: str | None
    reference: str | None
    fixed_threshold: float
    settings: str
    family: str
    published: float | None = None
    published_from: str | None = None

    @property
    def networks(self) -> str:
        """Who learns from whom, e.g. ``vit ← cnn``."""
        if self.teacher is None or self.paradigm == "single":
            return self.student
        arrow = "↔" if self.paradigm == "co-training" else "←"
        return f"{self.student} {arrow} {self.teacher}"


@dataclass(frozen=True)
class TrialRecord:
    """One configuration under one seed.

    Attributes:
        key: The trial's key.
        configuration: Name of its configuration.
        seed: Its seed.
        status: ``ok``, ``failed``, ``collapsed``, or ``missing`` where the ledger has no result.
        row: Its row of the ``trials`` table, empty values as None; empty where missing.
        figures: What follows from its scores; None without scores.
        diagnostics: What its maps and logits rely on, see ``reports.results.diagnostics``.

    """

    key: str
    configuration: str
    seed: int
    status: str
    row: Mapping[str, Any] = field(default_factory=dict)
    figures: TrialFigures | None = None
    diagnostics: pd.DataFrame | None = None

    def diagnostic(self, name: str, *, class_name: str, network: str = "student") -> float:
        """Look a diagnostic up; NaN where there is none."""
        if self.diagnostics is None:
            return math.nan
        return self._diagnosed.at((network, class_name), name)

    @cached_property
    def _diagnosed(self) -> Numbers:
        assert self.diagnostics is not None
        return Numbers.of(self.diagnostics, ("network", "class_name"))

    def figure(
        self,
        name: str,
        *,
        rule: str,
        class_name: str,
        network: str = "student",
        split: str = "test",
    ) -> float:
        """Look a figure up, of the test split unless said; NaN where there is none."""
        if self.figures is None:
            return math.nan
        return self.figures.value(name, network, class_name, split, rule)


@dataclass(frozen=True)
class RefinementChain:
    """A chain of refiners that trials are scored under besides the plain CAM.

    Attributes:
        name: What tables print.
        position: Its place in the study.
        lacks: Why it is not run; None if it is.
        published_worse: Another work's figure under its worse seed, a share; None without.
        published_best: Likewise under its best seed.
        published_from: Which work.

    """

    name: str
    position: int
    lacks: str | None = None
    published_worse: float | None = None
    published_best: float | None = None
    published_from: str | None = None


@dataclass(frozen=True)
class StudyRecord:
    """One study.

    Attributes:
        name: Its name in the plan.
        title: Its question.
        objective: The IoU definition that thresholds are tuned for; the study's main figure.
        rule: The threshold rule of its tables: ``tuned``, or ``fixed`` where none is tuned.
        configurations: In the plan's order.
        seeds: All seeds, ascending.
        classes: Class names, and ``MEAN_OF_CLASSES`` last where there are several.
        trials: By configuration and seed, only those that are planned.
        history: The ``history`` table of its trials.
        panels: The pictures of its trials, plain and under chains.
        dial: What the study turns, if it has a dial; the record is of one of its values.
        dial_value: Where it stands.
        search: The ``search`` table's rows of the study.
        chains: Its refinement chains, in the plan's order; ``PLAIN`` and ``OPTIMAL`` among them
            hold no more than published figures.
        refined: Trials under a chain, by configuration, seed and the chain's name; ``not run`` is
            the status of a chain that lacks something.

    """

    name: str
    title: str
    objective: str
    rule: str
    configurations: tuple[ConfigurationRecord, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    trials: Mapping[tuple[str, int], TrialRecord]
    history: pd.DataFrame
    panels: PanelParts
    dial: str | None = None
    dial_value: float | None = None
    search: pd.DataFrame = field(default_factory=pd.DataFrame)
    chains: tuple[RefinementChain, ...] = ()
    refined: Mapping[tuple[str, int, str], TrialRecord] = field(default_factory=dict)

    @property
    def main_class(self) -> str:
        """The class that headlines and figures speak of: the only one, or the mean over all."""
        return self.classes[-1] if self.classes else ""

    def configuration(self, name: str | None) -> ConfigurationRecord | None:
        """Find a configuration by its name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str | None, ConfigurationRecord]:
        return {one.name: one for one in reversed(self.configurations)}

    @cached_property
    def _under(self) -> dict[tuple[str, str], list[TrialRecord]]:
        found: dict[tuple[str, str], list[TrialRecord]] = {}
        for (name, _, chain), trial in self.refined.items():
            found.setdefault((name, chain), []).append(trial)
        return found

    def of(self, configuration: str) -> list[TrialRecord]:
        """Planned trials of a configuration, by ascending seed."""
        return [
            self.trials[configuration, seed]
            for seed in self.seeds
            if (configuration, seed) in self.trials
        ]

    def healthy(self, configuration: str) -> list[TrialRecord]:
        """Trials of a configuration that ended well: those that means are taken over."""
        return [trial for trial in self.of(configuration) if trial.status == "ok"]

    def states(self, configuration: str) -> Counter[str]:
        """How many trials of a configuration ended how."""
        return Counter(trial.status for trial in self.of(configuration))

    def by_seed(
        self,
        configuration: str,
        figure: str,
        *,
        rule: str | None = None,
        class_name: str | None = None,
        network: str = "student",
    ) -> dict[int, float]:
        """Figure of the test split by seed over healthy trials, without NaN.

        Args:
            configuration: Its name.
            figure: A column of the outcomes.
            rule: Threshold rule; None: the study's.
            class_name: None: the main class.
            network: ``student``, or the co-trained ``teacher``.

        """
        rule, class_name = rule or self.rule, class_name or self.main_class
        return _known(
            self.healthy(configuration),
            lambda trial: trial.figure(figure, rule=rule, class_name=class_name, network=network),
        )

    def under(self, configuration: str, chain: str) -> list[TrialRecord]:
        """Trials of a configuration under a chain, those that were not run included."""
        return list(self._under.get((configuration, chain), []))

    def every_trial(self) -> list[tuple[str, TrialRecord]]:
        """All trials with the refinement that their scores are of: plain first, then by chain."""
        plain = [(PLAIN, trial) for one in self.configurations for trial in self.of(one.name)]
        return plain + [(chain, trial) for (_, _, chain), trial in self.refined.items()]

    def refined_by_seed(
        self,
        configuration: str,
        chain: str,
        figure: str,
        *,
        rule: str | None = None,
        class_name: str | None = None,
    ) -> dict[int, float]:
        """Figure of a configuration's trials under a chain; see ``by_seed``."""
        rule, class_name = rule or self.rule, class_name or self.main_class
        return _known(
            [trial for trial in self.under(configuration, chain) if trial.status == "ok"],
            lambda trial: trial.figure(figure, rule=rule, class_name=class_name),
        )

    def refined_states(self, configuration: str, chain: str) -> Counter[str]:
        """How many of a configuration's trials ended how under a chain."""
        return Counter(trial.status for trial in self.under(configuration, chain))

    def diagnostic_by_seed(
        self,
        configuration: str,
        diagnostic: str,
        *,
        class_name: str | None = None,
        network: str = "student",
    ) -> dict[int, float]:
        """Diagnostic by seed over healthy trials, without NaN; see ``by_seed``."""
        class_name = class_name or self.main_class
        return _known(
            self.healthy(configuration),
            lambda trial: trial.diagnostic(diagnostic, class_name=class_name, network=network),
        )

    def diagnostics(self) -> pd.DataFrame:
        """All diagnostics of all trials as one tidy frame, in the plan's order."""
        return self._tidy(lambda trial: trial.diagnostics)

    def outcomes(self) -> pd.DataFrame:
        """All figures of all trials as one tidy frame, in the plan's order."""
        return self._tidy(lambda trial: trial.figures.outcomes if trial.figures else None)

    def _tidy(self, frame_of: Callable[[TrialRecord], pd.DataFrame | None]) -> pd.DataFrame:
        found = [
            (chain, trial, frame)
            for chain, trial in self.every_trial()
            if (frame := frame_of(trial)) is not None
        ]
        about = {
            "study": [self.name for _ in found],
            "configuration": [trial.configuration for _, trial, _ in found],
            "refinement": [chain for chain, _, _ in found],
            "seed": [trial.seed for _, trial, _ in found],
            "trial_key": [trial.key for _, trial, _ in found],
            "status": [trial.status for _, trial, _ in found],
        }
        if not found:
            return pd.DataFrame(columns=list(about))
        whole = pd.concat([frame for _, _, frame in found], ignore_index=True)
        # Once for all of them: a column added to each of thousands of frames takes minutes.
        rows = np.repeat(np.arange(len(found)), [len(frame) for _, _, frame in found])
        return pd.concat([pd.DataFrame(about).take(rows).reset_index(drop=True), whole], axis=1)


def _known(
    trials: Iterable[TrialRecord], value_of: Callable[[TrialRecord], float]
) -> dict[int, float]:
    """A figure by seed, without NaN."""
    found = {trial.seed: value_of(trial) for trial in trials}
    return {seed: value for seed, value in found.items() if not math.isnan(value)}
