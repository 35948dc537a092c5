"""What a search tried: its trials, best first, as a table.

The values chose the winners, on the tune split, and the highest of many noisy values is too high
on average; hence none of them is a result. Those are the confirmations under fresh seeds.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.statistics import Summary, summarise
from reports.tables.cells import ABSENT, MEASURE_NAMES, mean_and_spread
from reports.tables.model import Cell, Column, Table, mark_best
from wsss_core.errors import InputError

# From the healthiest to the least; of seeds that ended differently a trial has the worst state.
STATES = ("complete", "pruned", "collapsed", "failed")
LAMBDA, METRIC = "lambda", "metric"
METRIC_NAMES = {"l1": "L1", "l2": "L2", "kl": "KL"}


@dataclass(frozen=True)
class SearchTrial:
    """One point of the search's space.

    Attributes:
        number: In the order in which the search proposed them.
        configuration: Its name.
        parameters: By name: numbers, texts.
        by_seed: Objective, a share, of the seeds that finished with one.
        summary: Of those.
        state: One of ``STATES``.

    """

    number: int
    configuration: str
    parameters: Mapping[str, Any]
    by_seed: Mapping[int, float]
    summary: Summary
    state: str


def _parameters(number: int, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"search trial {number}: parameters are no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"search trial {number}: expected a JSON object, got {text}")
    return found


def search_trials(rows: pd.DataFrame) -> list[SearchTrial]:
    """Gather the seeds of each search trial, by ascending number.

    Args:
        rows: The ledger's ``search`` table of one study.

    Raises:
        InputError: For rows of several studies, parameters that are no JSON object or an unknown
            state.

    """
    studies = sorted(set(rows["study"]))
    if len(studies) > 1:
        raise InputError(f"expected the search of one study, got {', '.join(studies)}")
    found = []
    for number, group in rows.groupby("number", sort=True):
        by_seed = {
            int(seed): float(value)
            for seed, value in zip(group["seed"], group["objective"], strict=True)
            if not pd.isna(value)
        }
        unknown = sorted(set(group["state"]) - set(STATES))
        if unknown:
            raise InputError(
                f"search trial {number}: expected a state of {', '.join(STATES)}, got "
                f"{', '.join(unknown)}"
            )
        first = group.iloc[0]
        found.append(
            SearchTrial(
                number=int(first["number"]),
                configuration=str(first["configuration"]),
                parameters=_parameters(int(first["number"]), str(first["parameters"])),
                by_seed=dict(sorted(by_seed.items())),
                summary=summarise(by_seed.values()),
                state=max(group["state"], key=STATES.index),
            )
        )
    return found


def best_first(trials: list[SearchTrial]) -> list[SearchTrial]:
    """Order trials: complete ones by their mean, then the others, of which none could win."""

    def place(trial: SearchTrial) -> tuple[int, float, int]:
        mean = trial.summary.mean
        return STATES.index(trial.state), math.inf if math.isnan(mean) else -mean, trial.number

    return sorted(trials, key=place)


def _parameter_cell(value: Any) -> Cell:
    if value is None:
        return Cell(ABSENT, data={"": None})
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return Cell(json.dumps(value))
    if isinstance(value, str):
        return Cell(METRIC_NAMES.get(value, value.replace("_", " ")), data={"": value})
    return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), data={"": value})


def search_table(rows: pd.DataFrame, *, objective: str = "per_image_iou") -> Table:
    """Build the table: a row per search trial, best first.

    Args:
        rows: The ledger's ``search`` table of one study; see ``search_trials`` for what raises.
        objective: Which IoU its values are.

    """
    trials = search_trials(rows)
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    numeric = {
        name: all(
            isinstance(trial.parameters.get(name), (int, float, type(None))) for trial in trials
        )
        for name in names
    }
    columns = (
        Column("number", "trial", about="In the order of the search, from 0."),
        Column("configuration", "configuration"),
        Column("objective", "objective, tune split", "%", True, True,
               f"{MEASURE_NAMES[objective]} at the tune split's own best threshold; mean ± sd over "
               "seeds. It chose the winners and is no result."),
        Column("seeds", "seeds", numeric=True, about="Seeds that finished with an objective."),
        Column("state", "state"),
        *(Column(f"parameter_{name}", "λ" if name == LAMBDA else name.replace("_", " "),
                 numeric=numeric[name]) for name in names),
    )  # fmt: skip
    ranked = [_row(trial, names) for trial in best_first(trials)]
    ended = Counter(trial.state for trial in trials)
    states = ", ".join(f"{ended[state]} {state}" for state in STATES if ended[state])
    caption = (
        f"All {len(trials)} trials of the search ({states or 'none'}), best first; those that did "
        f"not complete stand below, as none of them could win. The objective is "
        f"{MEASURE_NAMES[objective]} on the tune split at that split's own best threshold, mean ± "
        "sample standard deviation over the seeds that finished. These values chose the winners "
        "and are therefore no results: the best of many is too high on average. Results are the "
        "confirmations under fresh seeds alone."
    )
    return mark_best(Table("search", "Search trials", columns, tuple(ranked), caption))


def _row(trial: SearchTrial, names: list[str]) -> tuple[Cell, ...]:
    summary = trial.summary
    complete = trial.state == "complete"
    return (
        Cell(str(trial.number), data={"": trial.number}),
        Cell(trial.configuration),
        Cell(
            mean_and_spread(summary),
            summary.mean if complete and summary.n else None,
            {"mean": summary.mean, "sd": summary.sd, "n": summary.n},
        ),
        Cell(str(summary.n), data={"": summary.n}),
        Cell(trial.state, state=trial.state if trial.state in ("failed", "collapsed") else ""),
        *(_parameter_cell(trial.parameters.get(name)) for name in names),
    )
