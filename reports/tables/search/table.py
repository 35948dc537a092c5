"""The search table: the trials of a search, best first.

The objective values chose the winners on the tune split. The best of many noisy values is too high
on average, so no value is a result. Results are the confirmations under fresh seeds.
"""

import json
from collections import Counter
from typing import Any

import pandas as pd

from reports.ledger.schema import SEARCH_STATES
from reports.names import MEASURE_NAMES, METRIC_NAMES
from reports.tables.cells import Cell, Column, Table, absent_cell, mark_best, mean_and_spread
from reports.tables.search.trials import SearchTrial, best_first, search_trials


def _parameter_cell(value: Any) -> Cell:
    if value is None:
        return absent_cell()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return Cell(json.dumps(value))
    if isinstance(value, str):
        return Cell(METRIC_NAMES.get(value, value.replace("_", " ")), data={"": value})
    return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), data={"": value})


def search_table(rows: pd.DataFrame, *, objective: str = "per_image_iou") -> Table:
    """Build the table: a row per search trial, best first.

    Args:
        rows: the ledger's `search` table of one study; errors as in `search_trials`.
        objective: the IoU definition of its values.

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
        Column("number", "trial", about="Its place in the search, from 0."),
        Column("configuration", "configuration"),
        Column(
            "objective",
            "objective, tune split",
            "%",
            True,
            True,
            f"{MEASURE_NAMES[objective]} at the tune split's best threshold; mean ± sd over "
            "seeds. It chose the winners and is no result.",
        ),
        Column("seeds", "seeds", numeric=True, about="Seeds that finished."),
        Column("state", "state"),
        *(
            Column(
                f"parameter_{name}",
                "λ" if name == "lambda" else name.replace("_", " "),
                numeric=numeric[name],
            )
            for name in names
        ),
    )
    ranked = [_row(trial, names) for trial in best_first(trials)]
    ended = Counter(trial.state for trial in trials)
    states = ", ".join(f"{ended[state]} {state}" for state in SEARCH_STATES if ended[state])
    caption = (
        f"All {len(trials)} trials of the search ({states or 'none'}), best first; trials that did "
        f"not complete stand below, as they could not win. The objective is "
        f"{MEASURE_NAMES[objective]} on the tune split at the best threshold of that split, mean ± "
        "sample standard deviation over the seeds that finished. These values chose the winners "
        "and are no results: the best of many is too high on average. Only the confirmations under "
        "fresh seeds are results."
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
