"""Reading studies from the ledger: what was planned, how each trial ended, what its scores say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reports.diagnostics import trial_diagnostics
from reports.ledger import read_table
from reports.outcomes import MEAN_OF_CLASSES, trial_figures
from reports.study_record import (
    OPTIMAL,
    PLAIN,
    Configuration,
    RefinementChain,
    StudyRecord,
    Trial,
)
from wsss_core.errors import InputError


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
        panels=_panels(results, trials, refined),
        dial=dial,
        dial_value=dial_value,
        search=searched[searched["study"] == rows[0]["study"]],
        chains=chains,
        refined=refined,
    )


def _panels(
    results: Path,
    trials: Mapping[tuple[str, int], Trial],
    refined: Mapping[tuple[str, int, str], Trial],
) -> pd.DataFrame:
    """The pictures of all trials, with the part that holds them: plain or of a chain."""
    of_chain = {
        (trials[name, seed].key, chain): trial.key
        for (name, seed, chain), trial in refined.items()
        if trial.key
    }
    keys = {*(trial.key for trial in trials.values()), *of_chain.values()}
    panels = read_table(results, "panels", keys=keys)
    places = zip(panels["trial_key"], panels["refinement"], strict=True)
    return panels.assign(part=[of_chain.get(place, place[0]) for place in places])


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
