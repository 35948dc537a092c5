"""What a search tries next: Optuna's TPE over its space, and what has to be tried again."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import studies.cluster.ray_start  # noqa: F401

# ruff: isort: split
import optuna
import pandas as pd
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from studies.planning.job import TrainingJob
from studies.planning.planner import Planner
from studies.scheduling.schedule import JOB_RETRIES
from studies.search.candidates import row_name
from studies.spec.configuration import Configuration
from studies.spec.search import Search
from studies.stages.outcome import JobStatus, Outcome
from studies.stages.preflight import check_networks
from wsss_core.errors import InputError

_POINTS = 100
"""Points in a row that cannot be built, after which a space has none that can."""


@dataclass
class Tried:
    """A configuration that is tried.

    Attributes:
        number: in the order in which the search proposed them.
        name: what Optuna calls it.
        parameters: the point of the space.
        jobs: one for each seed.
        deaths: how often a worker died over it.

    """

    number: int
    name: str
    parameters: dict[str, Any]
    jobs: list[TrainingJob]
    deaths: int = 0


class ConfigurationSearcher(Searcher):
    """Optuna's TPE over a search's space; what it suggests is turned into jobs, one a seed.

    Args:
        search: the space and the seeds.
        planner: makes jobs.
        done: rows of the ledger's `search` table that the sampler starts from.
        left: configurations to suggest.

    Attributes:
        at_end: whether all have been tried; `FINISHED` is said then, not before, as one that still
            runs may have to be started again.

    """

    def __init__(self, search: Search, planner: Planner, done: pd.DataFrame, left: int) -> None:
        super().__init__(metric="objective", mode="max")
        self.at_end = False
        self._search, self._planner, self._left = search, planner, left
        self._number = int(done["number"].max()) + 1 if len(done) else 0
        self._running: dict[str, Tried] = {}
        self._again: deque[Tried] = deque()
        known = done.dropna(subset=["objective"]).groupby("number")
        points = [json.loads(rows["parameters"].iloc[0]) for _, rows in known]
        rewards = [float(rows["objective"].mean()) for _, rows in known]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = OptunaSearch(
            space=_distributions(search),
            metric="objective",
            mode="max",
            sampler=optuna.samplers.TPESampler(seed=search.sampler_seed + len(points)),
            points_to_evaluate=points or None,
            evaluated_rewards=rewards or None,
        )

    def suggest(self, trial_id: str) -> Any:
        """A point of the space with a job for each seed; first those that have to be tried again.

        None while others run and nothing is left.
        """
        if self._again:
            tried = self._again.popleft()
        elif self._left:
            self._left -= 1
            tried = self._suggested(trial_id)
        elif self._running:
            return None
        else:
            self.at_end = True
            return str(Searcher.FINISHED)
        self._running[trial_id] = tried
        return {"number": tried.number, "parameters": tried.parameters, "jobs": tried.jobs}

    def _suggested(self, trial_id: str) -> Tried:
        """What Optuna suggests; points that cannot work are passed over.

        Not every level suits every representation: the cosine of single numbers has no gradient.
        """
        for attempt in range(_POINTS):
            name = f"{trial_id}-{attempt}"
            suggested = self._optuna.suggest(name)
            assert suggested is not None  # it is asked for a space of its own
            point = _rounded(suggested)
            try:
                jobs = self._jobs(self._search.row(point))
            except InputError:
                self._optuna.on_trial_complete(name, error=True)
                continue
            tried = Tried(self._number, name, point, jobs)
            self._number += 1
            return tried
        raise InputError(f"search: {_POINTS} points in a row could not be built")

    def _jobs(self, row: Configuration) -> list[TrainingJob]:
        jobs = []
        for seed in self._search.seeds:
            trial = self._planner.trial(row_name(row, self._planner.study), 0, row, seed)
            job = self._planner.job(row, seed)
            check_networks([job])
            jobs.append(replace(job, trials=(replace(trial, chains={}),)))
        return jobs

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See to it that one whose GPU has failed is tried again.

        Optuna needs no result before the last: ASHA prunes, and the sampler asks what was reached.
        """
        outcome: Outcome | None = result.get("outcome")
        failed = outcome is not None and outcome.status is JobStatus.GPU_FAILED
        if failed and trial_id in self._running:
            self._again.append(self._running.pop(trial_id))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on how a trial ended; one whose worker died is tried again."""
        tried = self._running.pop(trial_id, None)
        if tried is None:
            return
        if error and tried.deaths < JOB_RETRIES:
            tried.deaths += 1
            self._again.append(tried)
            return
        outcome: Outcome | None = (result or {}).get("outcome")
        failed = error or (outcome is not None and outcome.status is JobStatus.FAILED)
        self._optuna.on_trial_complete(tried.name, None if failed else result, failed)

    def comes_again(self, number: int) -> bool:
        """Whether a configuration waits to be tried again."""
        return any(tried.number == number for tried in self._again)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger's `search` table says what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to bring back."""


def _distributions(search: Search) -> dict[str, Any]:
    space = search.space
    found: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(choices)
        for name, choices in (
            ("metric", space.metric),
            ("level", space.transfer_level),
            ("representation", space.representation),
        )
    }
    for name, span in (("lambda", space.transfer_weight), ("learning_rate", space.learning_rate)):
        if span is not None:
            found[name] = optuna.distributions.FloatDistribution(span.low, span.high, log=True)
    return found


def _rounded(point: dict[str, Any]) -> dict[str, Any]:
    """Numbers to three digits: more say nothing, and a table has to print them."""
    return {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in point.items()}
