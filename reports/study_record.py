"""What the ledger knows of one study: configurations, seeds, how each trial ended, its figures."""

import json
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

PLAIN, OPTIMAL = "none", "optimal threshold"
"""Rows beside refinement chains: the plain CAM, and its cut where each image's mask would have it.
"""


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
        panels: The ``panels`` table of its trials, plain and under chains; ``part`` is the trial's
            key here.
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
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    trials: Mapping[tuple[str, int], Trial]
    history: pd.DataFrame
    panels: pd.DataFrame
    dial: str | None = None
    dial_value: float | None = None
    search: pd.DataFrame = field(default_factory=pd.DataFrame)
    chains: tuple[RefinementChain, ...] = ()
    refined: Mapping[tuple[str, int, str], Trial] = field(default_factory=dict)

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
        found = {
            seed: trial.figure(
                figure, rule=rule or self.rule, class_name=class_name or self.main_class
            )
            for (name, seed, of_chain), trial in self.refined.items()
            if (name, of_chain, trial.status) == (configuration, chain, "ok")
        }
        return {seed: value for seed, value in found.items() if not math.isnan(value)}

    def refined_states(self, configuration: str, chain: str) -> Counter[str]:
        """How many of a configuration's trials ended how under a chain."""
        return Counter(
            trial.status
            for (name, _, of_chain), trial in self.refined.items()
            if (name, of_chain) == (configuration, chain)
        )

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
        plain = [(PLAIN, trial) for one in self.configurations for trial in self.of(one.name)]
        under = [(chain, trial) for (_, _, chain), trial in self.refined.items()]
        frames = [
            frame.assign(
                study=self.name,
                configuration=trial.configuration,
                refinement=chain,
                seed=trial.seed,
                trial_key=trial.key,
                status=trial.status,
            )
            for chain, trial in plain + under
            if (frame := frame_of(trial)) is not None
        ]
        first = ["study", "configuration", "refinement", "seed", "trial_key", "status"]
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


def _trial(results: Path, planned: Mapping[str, Any], ended: Mapping[str, Any], key: str) -> Trial:
    """A trial, or one under a chain, whose parts are named by a key."""
    configuration, seed = planned["configuration"], int(planned["seed"])
    row = ended.get(key)
    if row is None:
        return Trial(key, configuration, seed, "missing")
    scores = read_table(results, "scores", keys=[key])
    figures = None
    if (scores["split"] == "test").any():
        figures = trial_figures(
            scores,
            objective=planned["objective"],
            fixed=planned["fixed_threshold"],
            own_rules=json.loads(planned["own_rules"] or "[]"),
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
    trials = {
        (row["configuration"], int(row["seed"])): _trial(results, row, ended, row["trial_key"])
        for row in rows
    }
    chains, refined = _refined(results, rows)
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
        panels=_panels(results, [*keys, *(trial.key for trial in refined.values() if trial.key)]),
        dial=dial,
        dial_value=dial_value,
        search=searched[searched["study"] == rows[0]["study"]],
        chains=chains,
        refined=refined,
    )


def _panels(results: Path, keys: list[str]) -> pd.DataFrame:
    """The pictures of all trials, with the part that holds them: plain or of a chain."""
    parts = [read_table(results, "panels", keys=[key]).assign(part=key) for key in keys]
    return pd.concat(parts, ignore_index=True)


def _refined(
    results: Path, planned: list[dict[str, Any]]
) -> tuple[tuple[RefinementChain, ...], dict[tuple[str, int, str], Trial]]:
    """The chains of a study and its trials under each."""
    listed = read_table(results, "refinements")
    listed = listed[listed["study"] == planned[0]["study"]].sort_values("position", kind="stable")
    rows = _records(listed)
    names = RefinementChain.__dataclass_fields__.keys() - {"name"}
    chains = {
        row["refinement"]: RefinementChain(row["refinement"], **{name: row[name] for name in names})
        for row in rows
    }
    keys = [row["scores_key"] for row in rows if row["scores_key"] is not None]
    ended = {r["scores_key"]: r for r in _records(read_table(results, "refined", keys=keys))}
    by_trial: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_trial.setdefault(row["trial_key"], []).append(row)
    found = {}
    for trial in planned:
        for row in by_trial.get(trial["trial_key"], []):
            place = trial["configuration"], int(trial["seed"]), row["refinement"]
            if row["refinement"] in (PLAIN, OPTIMAL):
                continue
            if row["lacks"] is not None:
                found[place] = Trial("", place[0], place[1], "not run")
            else:
                found[place] = _trial(results, trial, ended, row["scores_key"])
    return tuple(chains.values()), found


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
