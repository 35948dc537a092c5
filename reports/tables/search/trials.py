"""The trials of a search, gathered over the seeds they were scored under."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.ledger.schema import SEARCH_STATES
from reports.statistics import Summary, summarise
from wsss_core.errors import InputError, as_input_error


@dataclass(frozen=True)
class SearchTrial:
    """One point of the search space.

    Attributes:
        number: its place in the order in which the search proposed trials, from 0.
        configuration: its name.
        parameters: numbers and texts by name.
        by_seed: the objective, a share, of the seeds that finished.
        summary: of those.
        state: one of `SEARCH_STATES`; the worst of its seeds' states.

    """

    number: int
    configuration: str
    parameters: Mapping[str, Any]
    by_seed: Mapping[int, float]
    summary: Summary
    state: str


def search_trials(rows: pd.DataFrame) -> list[SearchTrial]:
    """Gather the seeds of each search trial, by ascending number.

    Args:
        rows: the ledger's `search` table of one study.

    Raises:
        InputError: the rows belong to several studies, or parameters are no JSON object.

    """
    studies = sorted(set(rows["study"]))
    if len(studies) > 1:
        raise InputError(f"expected the search of one study, got {', '.join(studies)}")
    return [_gathered(group) for _, group in rows.groupby("number", sort=True)]


def _gathered(seeds: pd.DataFrame) -> SearchTrial:
    first = seeds.iloc[0]
    number = int(first["number"])
    by_seed = {
        int(seed): float(value)
        for seed, value in zip(seeds["seed"], seeds["objective"], strict=True)
        if not pd.isna(value)
    }
    return SearchTrial(
        number=number,
        configuration=str(first["configuration"]),
        parameters=_parameters(number, str(first["parameters"])),
        by_seed=dict(sorted(by_seed.items())),
        summary=summarise(by_seed.values()),
        state=max(seeds["state"], key=SEARCH_STATES.index),
    )


def _parameters(number: int, text: str) -> dict[str, Any]:
    with as_input_error(f"search trial {number}: parameters are no JSON", json.JSONDecodeError):
        found = json.loads(text)
    if not isinstance(found, dict):
        raise InputError(f"search trial {number}: expected a JSON object, got {text}")
    return found


def best_first(trials: list[SearchTrial]) -> list[SearchTrial]:
    """Order trials: complete trials by their mean, then the others, which could not win."""

    def place(trial: SearchTrial) -> tuple[int, float, int]:
        mean = trial.summary.mean
        return (
            SEARCH_STATES.index(trial.state),
            math.inf if math.isnan(mean) else -mean,
            trial.number,
        )

    return sorted(trials, key=place)
