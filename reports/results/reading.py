"""Reading studies from the ledger: the plan, how each trial ended, the figures of its scores."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd
import pyarrow as pa

from reports.ledger.cancelled import cancelled_rows
from reports.ledger.gathered import gathered
from reports.ledger.parts import part_name, read_arrow, read_table, table_folder
from reports.ledger.schema import DERIVED_COLUMNS
from reports.names import MEAN_OF_CLASSES, OWN_CHAIN_ROWS, PLAIN
from reports.pairing import Pair, ScoredImages, fold_of, fold_records, pair_of
from reports.results.reasons import ReasonParts
from reports.results.score_rows import Rules
from reports.results.segments import read_segments
from reports.results.stored import EndedRows, EpochsByTrial, KeptFigures
from reports.results.study_record import (
    ChainRecord,
    ConfigurationRecord,
    PanelParts,
    StudyRecord,
    TrialRecord,
)
from reports.results.trial_cache import read_figures
from reports.storage import Location
from wsss_core.errors import InputError


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into one mapping per row, empty values as None."""
    filled = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in filled.to_dict("records")]


_PLAN_COLUMNS = {
    "name": "configuration",
    "transfer_level": "level",
    "transfer_weight": "weight",
}
"""Attributes of a `ConfigurationRecord` that another column of the plan holds."""


def _configurations(rows: Sequence[Mapping[str, Any]]) -> tuple[ConfigurationRecord, ...]:
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["configuration"], row)
    names = [one.name for one in fields(ConfigurationRecord)]
    return tuple(
        ConfigurationRecord(**{name: row[_PLAN_COLUMNS.get(name, name)] for name in names})
        for row in first.values()
    )


def _trial(
    planned: Mapping[str, Any],
    ended: Mapping[str, Any],
    read: Mapping[str, KeptFigures],
    key: str | None,
    cancelled: Collection[str],
) -> TrialRecord:
    """Make the record of a trial; the key names its parts, None if its chain is not run."""
    pair = _pair(planned)
    about = planned["configuration"], int(planned["seed"])
    if key is None:
        return TrialRecord("", *about, "not run", fold=fold_of(pair))
    row = ended.get(key)
    if row is None:
        state = "cancelled" if planned["configuration"] in cancelled else "missing"
        return TrialRecord(key, *about, state, fold=fold_of(pair))
    found = read.get(key)
    status = row["status"]
    if found is not None:
        return TrialRecord(key, *about, status, row, found, fold=fold_of(pair))
    if status == "ok":
        row, status = {**row, "error": "the ledger holds no test scores of this trial"}, "missing"
    return TrialRecord(key, *about, status, row, fold=fold_of(pair))


def _pair(planned: Mapping[str, Any]) -> Pair:
    """Return what pairs a planned trial with others."""
    fold = planned.get("fold")
    return pair_of(int(planned["seed"]), None if fold is None else int(fold))


def read_study(results: Location, plan: pd.DataFrame, *, processes: int = 1) -> StudyRecord:
    """Read one study.

    Args:
        results: the results folder.
        plan: the study's rows of the ledger's `plan` table, at one value of its sweep.
        processes: see `reports.results.trial_cache.read_figures`.

    """
    return _study(results, pa.Table.from_pandas(plan, preserve_index=False), processes)


def _study(results: Location, plan: pa.Table, processes: int) -> StudyRecord:
    in_order = plan.sort_by([("position", "ascending"), ("seed", "ascending")])
    rows = EndedRows(in_order).all()
    first = rows[0]
    ended, of_trials = _ended(results, "trials", [row["trial_key"] for row in rows], "trial_key")
    listed = read_table(results, "refinements")
    listed = listed[listed["study"] == first["study"]].sort_values("position", kind="stable")
    chain_rows = _records(listed)
    chain_keys = [row["scores_key"] for row in chain_rows if row["scores_key"] is not None]
    of_chains, of_refined = _ended(results, "refined", chain_keys, "scores_key")
    ended |= of_chains
    own_rules = tuple(json.loads(first["own_rules"] or "[]"))
    rules = Rules(first["objective"], float(first["fixed_threshold"]), own_rules)
    sealed = [of_trials, of_refined]
    del of_trials, of_refined
    read = read_figures(results, list(ended), rules, processes=processes, sealed=sealed)
    del sealed
    cancelled = cancelled_rows(results, first["study"])
    trials = _trials(rows, chain_rows, ended, read, cancelled)
    plain = {(name, pair): one for (name, pair, chain), one in trials.items() if chain == PLAIN}
    scored = {one.fold: one.key for one in plain.values() if one.figures is not None}
    groups = {
        id(one.figures.alike): one.figures.alike
        for one in plain.values()
        if isinstance(one.figures, KeptFigures)
    }
    outcomes = {row for alike in groups.values() for row in alike.outcome_rows}
    names = {name for _, name, *_ in outcomes}
    tuned = any(rule == "tuned" for _, _, _, rule, _ in outcomes)
    sweep, value = first["dial"], first["dial_value"]
    searched = read_table(results, "search")
    return StudyRecord(
        name=first["study"] if sweep is None else f"{first['study']}, {sweep} = {value:g}",
        title=first["study_title"],
        objective=first["objective"],
        rule="tuned" if tuned or not groups else "fixed",
        configurations=_configurations(rows),
        seeds=tuple(sorted({int(row["seed"]) for row in rows})),
        classes=tuple(sorted(names, key=lambda name: (name == MEAN_OF_CLASSES, name))),
        all_trials=trials,
        history=EpochsByTrial(results, {at: trial.key for at, trial in plain.items()}),
        panels=_panels(results, trials.values()),
        sweep=sweep,
        sweep_value=value,
        search=searched[searched["study"] == first["study"]],
        chains=_chains(chain_rows),
        findings=_findings(results, first["study"]),
        folds=fold_records(rows),
        extent=_scored_images(results, scored.values()),
        segments=read_segments(results, first["study"], value),
        reasons=_reasons(results, rows),
        decide=first.get("decide"),
        cancelled=cancelled,
    )


def _reasons(results: Location, rows: Iterable[Mapping[str, Any]]) -> ReasonParts | None:
    asked = {row["trial_key"]: key for row in rows if (key := row.get("reasons_key")) is not None}
    there = table_folder(results, "reasons").listing() if asked else {}
    found = {trial: key for trial, key in asked.items() if part_name(key) in there}
    return ReasonParts(results, found) if found else None


def _findings(results: Location, study: str) -> pd.DataFrame:
    """Return what was found about a study's images; a corrupt part costs the page no more."""
    found = read_arrow(results, "findings", skip_corrupt=True).to_pandas()
    return found[found["study"] == study]


_OF_IMAGES = ("image", "group", "split", "labelled", "class_name")


def _scored_images(results: Location, keys: Iterable[str]) -> ScoredImages:
    """Count the test images of some trials, each image once.

    Args:
        results: the results folder.
        keys: the key of a trial; in a study with folds, of one trial for each fold.

    """
    table = read_arrow(results, "scores", keys=list(keys), columns=_OF_IMAGES)
    columns = (table[name].to_pylist() for name in _OF_IMAGES)
    groups: dict[str, str] = {}
    holding: set[str] = set()
    of_class: dict[str, tuple[set[str], set[str]]] = {}
    for name, group, split, holds, class_name in zip(*columns, strict=True):
        if split == "test":
            groups[name] = group
            of_class.setdefault(class_name, (set(), set()))[not holds].add(group)
            if holds:
                holding.add(name)
    return ScoredImages(
        len(groups),
        len(set(groups.values())),
        len(holding),
        len({groups[name] for name in holding}),
        {name: (len(those), len(others)) for name, (those, others) in of_class.items()},
    )


def _ended(
    results: Location, table: str, keys: Iterable[str], key: str
) -> tuple[dict[str, Mapping[str, Any]], pa.Table]:
    """Read the rows that seal trials: each by its key, and the figures that they hold."""
    found = read_arrow(results, table, keys=keys, coded=True)
    names = [name for name in found.column_names if name not in DERIVED_COLUMNS]
    rows = EndedRows(found.select(names)).by(key)
    figures = found.select([key, *(name for name in DERIVED_COLUMNS if name not in names)])
    return rows, figures.rename_columns(["key", *figures.column_names[1:]])


def _panels(results: Location, trials: Iterable[TrialRecord]) -> PanelParts:
    there = table_folder(results, "panels").listing()
    keys = {trial.key for trial in trials if trial.key}
    return PanelParts(results, frozenset(key for key in keys if part_name(key) in there))


def _chains(rows: list[dict[str, Any]]) -> tuple[ChainRecord, ...]:
    names = [one.name for one in fields(ChainRecord) if one.name != "name"]
    chains = {
        row["refinement"]: ChainRecord(row["refinement"], **{name: row[name] for name in names})
        for row in sorted(rows, key=lambda row: row["position"])
    }
    return tuple(chains.values())


def _trials(
    planned: Sequence[Mapping[str, Any]],
    chain_rows: list[dict[str, Any]],
    ended: Mapping[str, Any],
    read: Mapping[str, KeptFigures],
    cancelled: Collection[str],
) -> dict[tuple[str, Pair, str], TrialRecord]:
    """Make the record of each planned trial, plain and then under its chains."""
    scored: dict[str, dict[str, str | None]] = {
        row["trial_key"]: {PLAIN: row["trial_key"]} for row in planned
    }
    for row in chain_rows:
        if row["refinement"] not in OWN_CHAIN_ROWS and row["trial_key"] in scored:
            key = row["scores_key"] if row["lacks"] is None else None
            scored[row["trial_key"]][row["refinement"]] = key
    return {
        (row["configuration"], _pair(row), chain): _trial(row, ended, read, key, cancelled)
        for row in planned
        for chain, key in scored[row["trial_key"]].items()
    }


def read_studies(results: Location, *, processes: int = 1) -> list[StudyRecord]:
    """Read every study of a results folder, by name; a study with a sweep once for each value.

    Args:
        results: the results folder, a path or a URI.
        processes: see `reports.results.trial_cache.read_figures`.

    Raises:
        InputError: there is no plan.
        LedgerError: a part cannot be read.

    Example:
        >>> import tempfile, studies
        >>> tiny = {"data.size": 32, "data.train": 16, "data.tune": 8, "data.test": 8}
        >>> tiny |= {"seeds": [0], "training.epochs": 1}
        >>> tiny |= {"configurations": [{"paradigm": "single", "student": "cnn"}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = studies.load_study("quickstart", tiny)
        ...     _ = studies.run_study(study, folder, in_process=True)
        ...     (record,) = read_studies(folder)
        >>> record.study, [(*at, trial.status) for at, trial in record.trials.items()]
        ('quickstart', [('CNN alone', 0, 'ok')])

    """
    plan = gathered([read_arrow(results, "plan")])
    if plan is None or not plan.num_rows:
        raise InputError(
            f"{results}: no plan in a ledger there; expected a folder that `wsss run` wrote"
        )
    at = plan.select(["study", "dial_value"]).to_pandas().astype({"study": str})
    groups = at.groupby(["study", "dial_value"], sort=True, dropna=False)
    places = [rows.index.to_numpy() for _, rows in groups]
    return [_study(results, plan.take(pa.array(where)), processes) for where in places]
