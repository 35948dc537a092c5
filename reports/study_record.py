"""What the ledger knows of one study: configurations, seeds, how each trial ended, its figures."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reports.diagnostics import trial_diagnostics
from reports.ledger import read_table
from reports.outcomes import MEAN_OF_CLASSES, TrialFigures, trial_figures
from wsss_core.errors import InputError


@dataclass(frozen=True)
class Configuration:
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
class Trial:
    """One configuration under one seed.

    Attributes:
        key: The trial's key.
        configuration: Name of its configuration.
        seed: Its seed.
        status: ``ok``, ``failed``, ``collapsed``, or ``missing`` where the ledger has no result.
        row: Its row of the ``trials`` table, empty values as None; empty where missing.
        figures: What follows from its scores; None without scores.
        diagnostics: What its maps and logits rely on, see ``reports.diagnostics``; likewise.

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
        rows = self.diagnostics
        found = rows.loc[(rows["network"] == network) & (rows["class_name"] == class_name), name]
        return float(found.iloc[0]) if len(found) else math.nan

    def figure(self, name: str, *, rule: str, class_name: str, network: str = "student") -> float:
        """Look a figure of the test split up; NaN where there is none."""
        if self.figures is None:
            return math.nan
        rows = self.figures.outcomes
        found = rows.loc[
            (rows["network"] == network)
            & (rows["class_name"] == class_name)
            & (rows["split"] == "test")
            & (rows["rule"] == rule),
            name,
        ]
        return float(found.iloc[0]) if len(found) else math.nan


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
        panels: The ``panels`` table of its trials.
        dial: What the study turns, if it has a dial; the record is of one of its values.
        dial_value: Where it stands.
        search: The ``search`` table's rows of the study.

    """

    name: str
    title: str
    objective: str
    rule: str
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    trials: Mapping[tuple[str, int], Trial]
    history: pd.DataFrame
    panels: pd.DataFrame
    dial: str | None = None
    dial_value: float | None = None
    search: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def main_class(self) -> str:
        """The class that headlines and figures speak of: the only one, or the mean over all."""
        return self.classes[-1] if self.classes else ""

    def configuration(self, name: str | None) -> Configuration | None:
        """Find a configuration by its name."""
        return next((one for one in self.configurations if one.name == name), None)

    def of(self, configuration: str) -> list[Trial]:
        """Planned trials of a configuration, by ascending seed."""
        return [
            self.trials[configuration, seed]
            for seed in self.seeds
            if (configuration, seed) in self.trials
        ]

    def healthy(self, configuration: str) -> list[Trial]:
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
        found = {
            trial.seed: trial.figure(
                figure,
                rule=rule or self.rule,
                class_name=class_name or self.main_class,
                network=network,
            )
            for trial in self.healthy(configuration)
        }
        return {seed: value for seed, value in found.items() if not math.isnan(value)}

    def diagnostic_by_seed(
        self,
        configuration: str,
        diagnostic: str,
        *,
        class_name: str | None = None,
        network: str = "student",
    ) -> dict[int, float]:
        """Diagnostic by seed over healthy trials, without NaN; see ``by_seed``."""
        found = {
            trial.seed: trial.diagnostic(
                diagnostic, class_name=class_name or self.main_class, network=network
            )
            for trial in self.healthy(configuration)
        }
        return {seed: value for seed, value in found.items() if not math.isnan(value)}

    def diagnostics(self) -> pd.DataFrame:
        """All diagnostics of all trials as one tidy frame, in the plan's order."""
        return self._tidy(lambda trial: trial.diagnostics)

    def outcomes(self) -> pd.DataFrame:
        """All figures of all trials as one tidy frame, in the plan's order."""
        return self._tidy(lambda trial: trial.figures.outcomes if trial.figures else None)

    def _tidy(self, frame_of: Callable[[Trial], pd.DataFrame | None]) -> pd.DataFrame:
        frames = [
            frame.assign(
                study=self.name,
                configuration=trial.configuration,
                seed=trial.seed,
                trial_key=trial.key,
                status=trial.status,
            )
            for one in self.configurations
            for trial in self.of(one.name)
            if (frame := frame_of(trial)) is not None
        ]
        first = ["study", "configuration", "seed", "trial_key", "status"]
        if not frames:
            return pd.DataFrame(columns=first)
        whole = pd.concat(frames, ignore_index=True)
        return whole[first + [name for name in whole.columns if name not in first]]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into one mapping per row, empty values as None."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _configurations(plan: pd.DataFrame) -> tuple[Configuration, ...]:
    first = plan.sort_values(["position", "seed"], kind="stable").drop_duplicates("configuration")
    names = [f for f in Configuration.__dataclass_fields__ if f != "name"]
    return tuple(
        Configuration(name=row["configuration"], **{name: row[name] for name in names})
        for row in _records(first)
    )


def _trial(results: Path, planned: Mapping[str, Any], ended: Mapping[str, Any]) -> Trial:
    key, configuration = planned["trial_key"], planned["configuration"]
    seed = int(planned["seed"])
    row = ended.get(key)
    if row is None:
        return Trial(key, configuration, seed, "missing")
    scores = read_table(results, "scores", keys=[key])
    figures = None
    if (scores["split"] == "test").any():
        figures = trial_figures(
            scores, objective=planned["objective"], fixed=planned["fixed_threshold"]
        )
    diagnostics = None
    if figures is not None:
        cut = figures.outcomes
        tuned = (cut["rule"] == "tuned").any()
        cut = cut[(cut["split"] == "test") & (cut["rule"] == ("tuned" if tuned else "fixed"))]
        levels = dict(zip(zip(cut["network"], cut["class_name"], strict=True), cut["level"],
                          strict=True))  # fmt: skip
        diagnostics = trial_diagnostics(scores, levels)
    status = row["status"]
    if status == "ok" and figures is None:
        row, status = {**row, "error": "the ledger holds no test scores of this trial"}, "missing"
    return Trial(key, configuration, seed, status, row, figures, diagnostics)


def read_study(results: Path, plan: pd.DataFrame) -> StudyRecord:
    """Read one study.

    Args:
        results: The results folder.
        plan: The rows of the ledger's ``plan`` table of that study, at one value of its dial.

    """
    rows = _records(plan.sort_values(["position", "seed"], kind="stable"))
    ended = {
        row["trial_key"]: row
        for row in _records(read_table(results, "trials", keys=plan["trial_key"]))
    }
    trials = {(row["configuration"], int(row["seed"])): _trial(results, row, ended) for row in rows}
    frames = [trial.figures.outcomes for trial in trials.values() if trial.figures is not None]
    names = {name for frame in frames for name in frame["class_name"]}
    classes = sorted(names - {MEAN_OF_CLASSES}) + sorted(names & {MEAN_OF_CLASSES})
    tuned = any((frame["rule"] == "tuned").any() for frame in frames)
    keys = plan["trial_key"].unique()
    dial, dial_value = rows[0]["dial"], rows[0]["dial_value"]
    searched = read_table(results, "search")
    return StudyRecord(
        name=rows[0]["study"] if dial is None else f"{rows[0]['study']}, {dial} = {dial_value:g}",
        title=rows[0]["study_title"],
        objective=rows[0]["objective"],
        rule="tuned" if tuned or not frames else "fixed",
        configurations=_configurations(plan),
        seeds=tuple(sorted({int(seed) for seed in plan["seed"]})),
        classes=tuple(classes),
        trials=trials,
        history=read_table(results, "history", keys=keys),
        panels=read_table(results, "panels", keys=keys),
        dial=dial,
        dial_value=dial_value,
        search=searched[searched["study"] == rows[0]["study"]],
    )


def read_studies(results: Path) -> list[StudyRecord]:
    """Read every study of a results folder, by name; one with a dial once for each value.

    Raises:
        InputError: If there is no plan; LedgerError for a part that cannot be read.

    """
    plan = read_table(results, "plan")
    if plan.empty:
        raise InputError(
            f"{results}: no plan in a ledger there; expected a folder that `wsss run` wrote"
        )
    groups = plan.groupby(["study", "dial_value"], sort=True, dropna=False)
    return [read_study(results, rows) for _, rows in groups]
