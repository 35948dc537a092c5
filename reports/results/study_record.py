"""A study as the ledger holds it: configurations, seeds, folds, how each trial ended, its figures.

Pictures are read on request: a page shows few of a large study's pictures.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import pandas as pd

from reports.ledger.cancelled import CancelledRow
from reports.ledger.parts import read_table
from reports.names import PLAIN
from reports.pairing import FoldRecord, FusionRecord, Pair, ScoredImages
from reports.results.reasons import ReasonParts, TrialReasons
from reports.results.segments import SegmentRecord
from reports.results.stored import (
    AlikeTrials,
    FiguresByPair,
    KeptFigures,
    TrialRecord,
    tidy_blocks,
    whole_frame,
)
from reports.storage import Location

_Made = TypeVar("_Made")

__all__ = ["ChainRecord", "ConfigurationRecord", "PanelParts", "StudyRecord", "TrialRecord"]


@dataclass(frozen=True)
class PanelParts:
    """The parts of the table `panels` of a study's trials, plain and under chains.

    Attributes:
        results: the results folder.
        keys: the keys of the trials that have one.

    """

    results: Location
    keys: frozenset[str] = frozenset()

    def of(self, key: str) -> pd.DataFrame:
        """Read the rows of one trial; none if it has no part."""
        return read_table(self.results, "panels", keys=self.keys & {key})


@dataclass(frozen=True)
class ConfigurationRecord:
    """One configuration of the plan, common to its seeds; attributes are columns of the plan."""

    name: str
    paradigm: str
    metric: str | None
    transfer_level: str | None
    representation: str | None
    transfer_weight: float | None
    student: str
    teacher: str | None
    baseline: str | None
    reference: str | None
    fixed_threshold: float
    settings: str
    family: str
    published: float | None = None
    published_from: str | None = None
    joined: int | None = None

    @property
    def networks(self) -> str:
        """The student and its teacher, e.g. `vit ← cnn`; of a fusion all, e.g. `vit + cnn`."""
        if self.teacher is None or self.paradigm == "single":
            return self.student
        arrow = "←" if self.paradigm == "teacher-student" else "↔"
        return f"{self.student} {arrow} {self.teacher}"

    @cached_property
    def fusion(self) -> FusionRecord | None:
        """What the row is fused of; None of a row that was trained."""
        return FusionRecord.of_settings(self.settings) if self.paradigm == "fused" else None

    @property
    def what_varies(self) -> dict[str, str | float | None]:
        """What tells configurations of a study apart, by the names of the plan's columns."""
        return {
            "paradigm": self.paradigm,
            "student": self.student,
            "teacher": self.teacher,
            "metric": self.metric,
            "transfer_level": self.transfer_level,
            "representation": self.representation,
            "transfer_weight": self.transfer_weight,
        }


@dataclass(frozen=True)
class ChainRecord:
    """A refinement chain under which trials are scored besides the plain CAM.

    Attributes:
        name, lacks: as in the study; why it is not run, None if it is.
        published_worse, published_best: another work's figures under its seeds, shares.
        published_from, published_of: that work, and the only configuration they are of.

    """

    name: str
    lacks: str | None = None
    published_worse: float | None = None
    published_best: float | None = None
    published_from: str | None = None
    published_of: str | None = None


@dataclass(frozen=True)
class StudyRecord:
    """One study, at one value of its sweep if it has one.

    Attributes:
        name: its name in the plan.
        title: its question.
        objective: the IoU definition that thresholds are tuned for; the study's main figure.
        rule: the threshold rule of its tables: `tuned`, or `fixed` if no threshold is tuned.
        configurations: in the plan's order.
        seeds: all seeds, ascending.
        classes: class names; several are followed by `MEAN_OF_CLASSES`.
        all_trials: planned trials by configuration, seed and chain, `PLAIN` for the plain CAM; in a
            study with folds, by configuration, seed on a fold, and chain.
        history: the epochs of plain trials, rows of the table `history`, by configuration and seed
            (and fold).
        panels: the pictures of its trials, plain and under chains.
        sweep: the setting that the study varies; None without a sweep.
        sweep_value: the value of that setting.
        search: the study's rows of the table `search`.
        chains: its refinement chains, in the plan's order; `PLAIN` and `OPTIMAL` among them hold
            published figures only.
        findings: the study's rows of the table `findings`: what was found about its images.
        folds: its folds, in order; none in a study without folds.
        extent: how many images and groups its figures of the test split are over.
        reasons: the reasons of its trials; None in a study that does not ask for them.
        segments: its segmenters, in the study's order.
        decide: which comparisons it decides (`reports.decisions`), in JSON; None: none.
        cancelled: the rows that are cancelled, by name; their trials may have ended before.

    """

    name: str
    title: str
    objective: str
    rule: str
    configurations: tuple[ConfigurationRecord, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    all_trials: Mapping[tuple[str, Pair, str], TrialRecord]
    history: Mapping[tuple[str, Pair], pd.DataFrame]
    panels: PanelParts
    sweep: str | None = None
    sweep_value: float | None = None
    search: pd.DataFrame = field(default_factory=pd.DataFrame)
    chains: tuple[ChainRecord, ...] = ()
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    folds: tuple[FoldRecord, ...] = ()
    extent: ScoredImages = field(default_factory=ScoredImages)
    segments: tuple[SegmentRecord, ...] = ()
    reasons: ReasonParts | None = None
    decide: str | None = None
    cancelled: Mapping[str, CancelledRow] = field(default_factory=dict)

    @cached_property
    def _made(self) -> dict[Callable[..., Any], Any]:
        return {}

    def once(self, make: "Callable[[StudyRecord], _Made]") -> _Made:
        """Return what a function makes of the record; it is called the first time alone.

        For what rooms above make of it. `dataclasses.replace` makes a record without any.
        """
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """What pairs its trials, ascending: its seeds; with folds, each seed on each fold."""
        if not self.folds:
            return self.seeds
        return tuple(sorted({pair for _, pair, _ in self.all_trials}))

    @property
    def study(self) -> str:
        """The study's name without the value of its sweep."""
        if self.sweep is None:
            return self.name
        return self.name.removesuffix(f", {self.sweep} = {self.sweep_value:g}")

    @property
    def main_class(self) -> str:
        """The class of headlines and figures: the only class, or the mean over all."""
        return self.classes[-1] if self.classes else ""

    def configuration(self, name: str | None) -> ConfigurationRecord | None:
        """Return a configuration by its name; None if there is none."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str | None, ConfigurationRecord]:
        return {one.name: one for one in reversed(self.configurations)}

    @cached_property
    def trials(self) -> Mapping[tuple[str, Pair], TrialRecord]:
        """The planned trials with the plain CAM, by configuration and seed (and fold)."""
        found = self.all_trials.items()
        return {(name, pair): trial for (name, pair, chain), trial in found if chain == PLAIN}

    @cached_property
    def _ordered(self) -> dict[tuple[str, str], tuple[list[TrialRecord], Counter[str]]]:
        """The trials by configuration and chain, by ascending seed and fold, and their states."""
        return {}

    def _of(self, configuration: str, chain: str) -> tuple[list[TrialRecord], Counter[str]]:
        at = configuration, chain
        if at not in self._ordered:
            found = (self.all_trials.get((configuration, pair, chain)) for pair in self.pairs)
            trials = [trial for trial in found if trial is not None]
            self._ordered[at] = trials, Counter(trial.status for trial in trials)
        return self._ordered[at]

    def of(self, configuration: str, chain: str = PLAIN) -> list[TrialRecord]:
        """Return the planned trials of a configuration under a chain, by ascending seed, fold."""
        return list(self._of(configuration, chain)[0])

    def healthy(self, configuration: str, chain: str = PLAIN) -> list[TrialRecord]:
        """Return the trials that ended well: means are taken over these."""
        return [trial for trial in self._of(configuration, chain)[0] if trial.status == "ok"]

    def states(self, configuration: str, chain: str = PLAIN) -> Counter[str]:
        """Count how the trials of a configuration ended."""
        return self._of(configuration, chain)[1].copy()

    @cached_property
    def _arrays(self) -> dict[str, FiguresByPair | None]:
        """The figures of all healthy trials by chain; None where some are in no array."""
        return {}

    def _array(self, chain: str) -> FiguresByPair | None:
        if chain not in self._arrays:
            trials = [t for one in self.configurations for t in self.healthy(one.name, chain)]
            apart = any(
                trial.diagnosed is not None or not isinstance(trial.figures, KeptFigures | None)
                for trial in trials
            )
            self._arrays[chain] = (
                None
                if apart
                else FiguresByPair(
                    (trial.configuration, trial.pair, cast("KeptFigures | None", trial.figures))
                    for trial in trials
                )
            )
        return self._arrays[chain]

    def by_seed(
        self,
        configuration: str,
        figure: str,
        *,
        chain: str = PLAIN,
        rule: str | None = None,
        class_name: str | None = None,
        network: str = "student",
        split: str = "test",
    ) -> dict[Pair, float]:
        """Return a figure of a split by seed, over healthy trials and without NaN.

        In a study with folds it is by seed and fold, over the test images of the fold.

        Args:
            configuration: its name.
            figure: a column of the outcomes.
            chain: the chain under which trials were scored.
            rule: the threshold rule; None: the study's.
            class_name: None: the main class.
            network: `student`, or in co-training `teacher` or `fused`.
            split: `test`, or `tune` at the rules that use its masks alone.

        """
        rule, class_name = rule or self.rule, class_name or self.main_class
        if configuration in self._by_name and (array := self._array(chain)) is not None:
            return array.outcome(configuration, (network, class_name, split, rule), figure)
        return _known(
            self.healthy(configuration, chain),
            lambda trial: trial.figure(
                figure, rule=rule, class_name=class_name, network=network, split=split
            ),
        )

    def never_predicted(
        self, configuration: str, class_name: str, *, chain: str = PLAIN, rule: str | None = None
    ) -> list[Pair]:
        """Return the seeds (and folds) of healthy trials whose student never predicts a class."""
        held, gated = (
            self.by_seed(configuration, name, chain=chain, rule=rule, class_name=class_name)
            for name in ("images_with_class", "images_with_class_gated")
        )
        suspects = {pair for pair, count in held.items() if count > 0 and gated.get(pair) == count}
        return [
            trial.pair
            for trial in (self.healthy(configuration, chain) if suspects else ())
            if trial.pair in suspects and trial.gating != "none"
        ]

    def every_trial(self) -> list[tuple[str, TrialRecord]]:
        """Return all trials with the chain of their scores: plain trials first, then by chain."""
        plain = [(PLAIN, trial) for one in self.configurations for trial in self.of(one.name)]
        every = self.all_trials.items()
        return plain + [(chain, trial) for (_, _, chain), trial in every if chain != PLAIN]

    def diagnostic_by_seed(
        self,
        configuration: str,
        diagnostic: str,
        *,
        class_name: str | None = None,
        network: str = "student",
    ) -> dict[Pair, float]:
        """Return a diagnostic by seed, over healthy trials and without NaN; see `by_seed`."""
        class_name = class_name or self.main_class
        if configuration in self._by_name and (array := self._array(PLAIN)) is not None:
            return array.diagnostic(configuration, (network, class_name), diagnostic)
        return _known(
            self.healthy(configuration),
            lambda trial: trial.diagnostic(diagnostic, class_name=class_name, network=network),
        )

    def reasons_of(self, trial: TrialRecord) -> TrialReasons:
        """Return the reasons of a trial's student; empty ones where none were measured."""
        levels = {n: trial.figure("level", rule=self.rule, class_name=n) for n in self.classes}
        return self.reasons.of(trial.key, levels) if self.reasons else TrialReasons()

    def reason_by_seed(
        self, configuration: str, figure: str, class_name: str, sigma: float | None = None
    ) -> dict[Pair, float]:
        """Return a figure of `TrialReasons` by seed, over healthy trials and without NaN."""
        return _known(
            self.healthy(configuration),
            lambda trial: self.reasons_of(trial).figure(figure, class_name, sigma),
        )

    def diagnostics(self) -> pd.DataFrame:
        """Return all diagnostics of all trials as one tidy frame, in the plan's order."""
        return whole_frame(self.diagnostic_blocks())

    def outcomes(self) -> pd.DataFrame:
        """Return all figures of all trials as one tidy frame, in the plan's order."""
        return whole_frame(self.outcome_blocks())

    def diagnostic_blocks(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of `diagnostics`, some trials after another; at least one frame."""
        return tidy_blocks(
            self.name,
            self.every_trial(),
            AlikeTrials.diagnostic_frame,
            lambda trial: trial.diagnostics,
            folded=bool(self.folds),
        )

    def outcome_blocks(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of `outcomes`, some trials after another; at least one frame."""
        return tidy_blocks(
            self.name,
            self.every_trial(),
            AlikeTrials.outcome_frame,
            lambda trial: trial.figures.outcomes if trial.figures else None,
            folded=bool(self.folds),
        )


def _known(
    trials: Iterable[TrialRecord], value_of: Callable[[TrialRecord], float]
) -> dict[Pair, float]:
    """Return a figure by seed, or by seed and fold, without NaN."""
    found = {trial.pair: value_of(trial) for trial in trials}
    return {pair: value for pair, value in found.items() if not math.isnan(value)}
