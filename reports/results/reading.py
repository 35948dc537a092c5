"""Reading studies from the ledger: what was planned, how each trial ended, what its scores say."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.ledger.parts import part_name, read_table, table_folder
from reports.results.outcomes import MEAN_OF_CLASSES
from reports.results.panel_parts import PanelParts
from reports.results.study_record import (
    OPTIMAL,
    PLAIN,
    ConfigurationRecord,
    RefinementChain,
    StudyRecord,
    TrialRecord,
)
from reports.results.trial_cache import ReadTrial, Settings, read_figures
from reports.storage.locations import Location
from wsss_core.errors import InputError


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into one mapping per row, empty values as None."""
    filled = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in filled.to_dict("records")]


def _configurations(plan: pd.DataFrame) -> tuple[ConfigurationRecord, ...]:
    first = plan.sort_values(["position", "seed"], kind="stable").drop_duplicates("configuration")
    names = [f for f in ConfigurationRecord.__dataclass_fields__ if f != "name"]
    return tuple(
        ConfigurationRecord(name=row["configuration"], **{name: row[name] for name in names})
        for row in _records(first)
    )


def _trial(
    planned: Mapping[str, Any],
    ended: Mapping[str, Any],
    read: Mapping[str, ReadTrial],
    key: str,
) -> TrialRecord:
    """A trial, or one under a chain, whose parts are named by a key."""
    configuration, seed = planned["configuration"], int(planned["seed"])
    row = ended.get(key)
    if row is None:
        return TrialRecord(key, configuration, seed, "missing")
    found = read.get(key)
    status = row["status"]
    if found is not None:
        return TrialRecord(key, configuration, seed, status, row, found.figures, found.diagnostics)
    if status == "ok":
        row, status = {**row, "error": "the ledger holds no test scores of this trial"}, "missing"
    return TrialRecord(key, configuration, seed, status, row)


def read_study(
    results: Location,
    plan: pd.DataFrame,
    *,
    processes: int = 1,
) -> StudyRecord:
    """Read one study.

    Args:
        results: The results folder.
        plan: The rows of the ledger's ``plan`` table of that study, at one value of its dial.
        processes: see `reports.results.trial_cache.read_figures`.

    """
    rows = _records(plan.sort_values(["position", "seed"], kind="stable"))
    ended = {
        row["trial_key"]: row
        for row in _records(read_table(results, "trials", keys=plan["trial_key"]))
    }
    listed = _listed(results, rows)
    chain_keys = [row["scores_key"] for row in listed if row["scores_key"] is not None]
    refined_ended = {
        row["scores_key"]: row for row in _records(read_table(results, "refined", keys=chain_keys))
    }
    settings = Settings(
        rows[0]["objective"],
        rows[0]["fixed_threshold"],
        tuple(json.loads(rows[0]["own_rules"] or "[]")),
    )
    read = read_figures(results, [*ended, *refined_ended], settings, processes=processes)
    trials = {
        (row["configuration"], int(row["seed"])): _trial(row, ended, read, row["trial_key"])
        for row in rows
    }
    chains, refined = _refined(listed, rows, refined_ended, read)
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
    results: Location,
    trials: Mapping[tuple[str, int], TrialRecord],
    refined: Mapping[tuple[str, int, str], TrialRecord],
) -> PanelParts:
    there = table_folder(results, "panels").listing()
    keys = {trial.key for trial in (*trials.values(), *refined.values()) if trial.key}
    return PanelParts(results, frozenset(key for key in keys if part_name(key) in there))


def _listed(results: Location, planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The refinement chains of a study's trials."""
    listed = read_table(results, "refinements")
    listed = listed[listed["study"] == planned[0]["study"]].sort_values("position", kind="stable")
    return _records(listed)


def _refined(
    rows: list[dict[str, Any]],
    planned: list[dict[str, Any]],
    ended: Mapping[str, Any],
    read: Mapping[str, ReadTrial],
) -> tuple[tuple[RefinementChain, ...], dict[tuple[str, int, str], TrialRecord]]:
    """The chains of a study and its trials under each."""
    names = RefinementChain.__dataclass_fields__.keys() - {"name"}
    chains = {
        row["refinement"]: RefinementChain(row["refinement"], **{name: row[name] for name in names})
        for row in rows
    }
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
                found[place] = TrialRecord("", place[0], place[1], "not run")
            else:
                found[place] = _trial(trial, ended, read, row["scores_key"])
    return tuple(chains.values()), found


def read_studies(results: Location, *, processes: int = 1) -> list[StudyRecord]:
    """Read every study of a results folder, by name; one with a dial once for each value.

    Args:
        results: The results folder.
        processes: see `reports.results.trial_cache.read_figures`.

    Raises:
        InputError: If there is no plan; LedgerError for a part that cannot be read.

    """
    plan = read_table(results, "plan")
    if plan.empty:
        raise InputError(
            f"{results}: no plan in a ledger there; expected a folder that `wsss run` wrote"
        )
    groups = plan.groupby(["study", "dial_value"], sort=True, dropna=False)
    return [read_study(results, rows, processes=processes) for _, rows in groups]
