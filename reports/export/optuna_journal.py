"""The trials of searches as a journal file of Optuna, which optuna-dashboard opens.

The ledger keeps each trial of a search as a part of its own, so the file can be made anew at any
time: while the search runs, after it was killed, after it went on. It is written whole.
"""

import math
import shlex
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.export.folders import ExportFolder
from reports.export.outcome import Exported
from reports.ledger import part_name, read_table, table_folder
from reports.storage import Location
from reports.tables.search import SearchTrial, search_trials
from wsss_core.errors import InputError

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"


def export_to_optuna(results: Location, names: Sequence[str], folder: ExportFolder) -> Exported:
    """Write every search as a study of Optuna.

    Args:
        results: the results folder.
        names: the studies whose searches are written.
        folder: the folder of the journal.

    Raises:
        InputError: no study has a search, or the folder cannot be written.

    """
    found = searches(results, names)
    if not found:
        raise InputError(
            f"{results}: no search in its ledger; expected a study with a `search` section whose "
            "first trial has ended"
        )
    with tempfile.TemporaryDirectory() as scratch:
        journal = Path(scratch) / JOURNAL
        for name, trials in found.items():
            _write_study(journal, name, trials)
        content = journal.read_bytes()
    file = folder.write(JOURNAL, content)
    for name in names:
        folder.replace(name, [JOURNAL])
    step = f"optuna-dashboard {shlex.quote(str(file))}"
    return Exported(str(file), sum(len(search.trials) for search in found.values()), next_step=step)


@dataclass(frozen=True)
class SearchRows:
    """A search: its trials, and the objectives of each in the order of their seeds."""

    trials: Sequence[SearchTrial]
    objectives: Mapping[int, Sequence[float]]


def searches(results: Location, names: Sequence[str]) -> dict[str, SearchRows]:
    """Return every search by name: the study's, with a digest where the study has several.

    A study that was changed keeps the searches of before the change, each under its own digest.
    """
    parts: dict[str, list[str]] = defaultdict(list)
    for name in table_folder(results, "search").listing():
        key = name.removesuffix(part_name(""))
        parts[key.rpartition(".")[0]].append(key)
    by_study: dict[str, dict[str, pd.DataFrame]] = defaultdict(dict)
    for prefix, keys in sorted(parts.items()):
        for study, rows in read_table(results, "search", keys=keys).groupby("study"):
            by_study[str(study)][prefix.rpartition(".")[2]] = rows
    return {
        study if len(found) == 1 else f"{study} ({digest})": _rows(rows)
        for study, found in by_study.items()
        if study in names
        for digest, rows in found.items()
    }


def _rows(rows: pd.DataFrame) -> SearchRows:
    reached = rows.dropna(subset=["objective"]).groupby("number")["objective"]
    objectives = {int(str(number)): values.tolist() for number, values in reached}
    return SearchRows(search_trials(rows), objectives)


def _write_study(journal: Path, name: str, search: SearchRows) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        spans = _distributions(search.trials)
        known = {trial.number: trial for trial in search.trials}
        # A trial that was broken off left nothing; without its place, the next have other numbers.
        for number in range(max(known) + 1):
            study.add_trial(_frozen(known.get(number), search.objectives.get(number, ()), spans))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(
    trials: Sequence[SearchTrial],
) -> dict[str, "optuna.distributions.BaseDistribution"]:
    """Return the span of each parameter that was tried; the ledger does not keep the space."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    tried: dict[str, list[Any]] = defaultdict(list)
    for trial in trials:
        for name, value in trial.parameters.items():
            tried[name].append(value)
    spans: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in tried.items():
        if all(isinstance(value, int | float) for value in values):
            low, high = float(min(values)), float(max(values))
            spans[name] = FloatDistribution(low, high, log=low > 0)
        else:
            spans[name] = CategoricalDistribution(sorted(set(values), key=str))
    return spans


def _frozen(
    trial: SearchTrial | None,
    objectives: Sequence[float],
    spans: Mapping[str, "optuna.distributions.BaseDistribution"],
) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial

    if trial is None:
        return create_trial(state=TrialState.FAIL, user_attrs={"state": "broken off"})
    means = [sum(objectives[:n]) / n for n in range(1, len(objectives) + 1)]
    defined = bool(means) and math.isfinite(means[-1])
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    state = states.get(trial.state, TrialState.FAIL) if defined else TrialState.FAIL
    return create_trial(
        state=state,
        # Optuna gives a failed trial no value; what its seeds reached are its intermediate values.
        value=None if state is TrialState.FAIL else means[-1],
        params={name: _number(value) for name, value in trial.parameters.items()},
        distributions={name: spans[name] for name in trial.parameters},
        intermediate_values=dict(enumerate(means, 1)),
        user_attrs={
            "state": trial.state,
            "configuration": trial.configuration,
            **{f"objective, seed {seed}": value for seed, value in trial.by_seed.items()},
        },
    )


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) else value
