"""The trials of a search: Optuna proposes configurations and prunes them, the ledger keeps them.

Each configuration is scored under one seed after the other; each seed is an ordinary training run
that the one scheduler gives out. Deaths of workers, failed GPUs, corrupt inputs and other drivers
are therefore the scheduler's, as in every run; what comes here has ended.
"""

import json
import logging
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
import pandas as pd

from reports.ledger.parts import read_table, write_part
from reports.names import MEAN_OF_CLASSES
from reports.results.outcomes import trial_figures
from reports.storage import Location, StorageError
from studies.planning import Job, Planner, TrainingJob
from studies.preflight import check_networks
from studies.scheduling.stopping import Stop
from studies.search.candidates import Point, candidate_name, search_of
from studies.stages import JobStatus, Outcome
from studies.store import canonical
from wsss_core.errors import InputError

logger = logging.getLogger(__name__)

_SAMPLER: dict[str, Any] = {
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
    "multivariate": True,
    "group": False,
    "constant_liar": True,
}
"""Every option of TPE but its seed and the deprecated ones: Optuna's defaults differ by version."""

_PRUNER: dict[str, Any] = {
    "reduction_factor": 2,
    "min_early_stopping_rate": 0,
    "bootstrap_count": 0,
}
"""Every option of ASHA but `min_resource`, which is the search's `grace`."""

_POINTS = 100
"""So many points in a row that cannot be built mean that the space has none that can."""


@dataclass
class Candidate:
    """A configuration that is tried.

    Attributes:
        number: its place in the order in which the search proposed it.
        name: what it is called in lines and in the ledger.
        point: the point of the space.
        jobs: its training runs, one a seed.
        trial: what Optuna knows of it.
        objectives: the objective under each seed so far.
        state: how it ended; "collapsed" as soon as one of its networks has collapsed.

    """

    number: int
    name: str
    point: Point
    jobs: list[TrainingJob]
    trial: optuna.trial.Trial
    objectives: list[float] = field(default_factory=list)
    state: str = "complete"


class SearchTrials:
    """The training runs of a search, each given out once the ones before it have ended.

    Optuna's TPE proposes; asynchronous successive halving (ASHA, Li et al., MLSys 2020; Optuna's
    `SuccessiveHalvingPruner`) stops a configuration between seeds. A part of the `search` table is
    written as each configuration ends; those that are broken off leave none.

    Args:
        planner: makes the jobs; of a study with a `search` section.
        results: the folder of the ledger.
        done: rows of the `search` table that Optuna starts from.
        prefix: begins the names of the table's parts.
        left: configurations to propose.
        stop: told of errors and of a storage that is down; when it asks, no part is written.

    """

    def __init__(
        self,
        planner: Planner,
        results: Location,
        done: pd.DataFrame,
        prefix: str,
        left: int,
        stop: Stop,
    ) -> None:
        search = search_of(planner.study)
        self._search, self._planner, self._results = search, planner, results
        self._prefix, self._left, self._stop = prefix, left, stop
        self._number = int(done["number"].max()) + 1 if len(done) else 0
        self._awaiting: dict[str, list[Candidate]] = defaultdict(list)
        self._space = _distributions(planner)
        known = done.dropna(subset=["objective"]).groupby("number")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=search.sampler_seed + len(known), constraints_func=None, **_SAMPLER
            ),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=search.grace, **_PRUNER),
        )
        if (line := other_optuna(done)) is not None:
            logger.warning("%s: %s", planner.study.study, line)
        for _, rows in known:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=self._within(json.loads(rows["parameters"].iloc[0])),
                    distributions=self._space,
                    value=float(rows["objective"].mean()),
                )
            )

    @property
    def running(self) -> int:
        """How many configurations have been proposed and have not ended."""
        return sum(map(len, self._awaiting.values()))

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """The configurations that Optuna learns from, those of an earlier search included."""
        return self._study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))

    def start(self, at_once: int) -> list[TrainingJob]:
        """Propose configurations until a number of them run; return their first training runs."""
        begun: dict[str, TrainingJob] = {}  # two points may come out as one training run
        while self._left and self.running < at_once:
            self._left -= 1
            job = self._await(self._proposed())
            begun[job.key] = job
        return list(begun.values())

    def ended(self, job: Job, outcome: Outcome) -> list[TrainingJob]:
        """Return what to run after a training run has ended.

        That is the next seed of its configuration, or the first one of another. An error in here is
        the driver's and ends the search.
        """
        with self._stop.keeping_faults():
            if not isinstance(job, TrainingJob) or not job.trials:
                if outcome.status is not JobStatus.OK:
                    raise InputError(f"a teacher of the search was not trained: {outcome.error}")
                return []
            candidates = self._awaiting.pop(job.key, [])
            following = [self._go_on(candidate, job, outcome) for candidate in candidates]
            found = [candidate for candidate in following if candidate is not None]
            return found + self.start(self.running + len(candidates) - len(found))
        return []

    def _await(self, candidate: Candidate) -> TrainingJob:
        job = candidate.jobs[len(candidate.objectives)]
        self._awaiting[job.key].append(candidate)
        return job

    def _go_on(
        self, candidate: Candidate, job: TrainingJob, outcome: Outcome
    ) -> TrainingJob | None:
        """Take a seed's result; return the next seed's training run unless that was the last."""
        if outcome.status is JobStatus.FAILED:
            self._study.tell(candidate.trial, state=optuna.trial.TrialState.FAIL)
            candidate.state = "failed"
            self._write(candidate, outcome.error)
            return None
        try:
            objective = self._planner.study.thresholds.objective
            value = tuned_objective(self._results, job.trials[0].key, objective)
        except StorageError as away:
            self._stop.without_storage(away)
            return None
        candidate.objectives.append(value)
        if outcome.status is JobStatus.COLLAPSED:
            candidate.state = "collapsed"
        mean = sum(candidate.objectives) / len(candidate.objectives)
        candidate.trial.report(mean, step=len(candidate.objectives))
        if len(candidate.objectives) < len(candidate.jobs):
            if not candidate.trial.should_prune():
                return self._await(candidate)
            candidate.state = "pruned" if candidate.state == "complete" else candidate.state
        # TPE learns from what a pruned one has reached, as from a whole one.
        self._study.tell(candidate.trial, mean)
        self._write(candidate)
        return None

    def _proposed(self) -> Candidate:
        """Return a configuration that can be built; points that cannot are told to Optuna.

        Not every level suits every representation: the cosine of single numbers has no gradient.
        """
        for _ in range(_POINTS):
            trial = self._study.ask(self._space)
            # Three digits: more say nothing, and a table has to print them.
            point = self._within(
                {
                    name: float(f"{value:.3g}") if isinstance(value, float) else value
                    for name, value in trial.params.items()
                }
            )
            name = candidate_name(self._search.configuration(point), self._planner.study)
            try:
                candidate = Candidate(self._number, name, point, self._jobs(name, point), trial)
            except InputError:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            self._number += 1
            return candidate
        raise InputError(f"search: {_POINTS} points in a row could not be built")

    def _jobs(self, name: str, point: Point) -> list[TrainingJob]:
        configuration = self._search.configuration(point)
        jobs = []
        for seed in self._search.seeds:
            trial = self._planner.trial(name, 0, configuration, seed)
            # Its own trial alone, and no chains: only confirmed configurations are refined.
            jobs.append(
                replace(self._planner.job(configuration, seed), trials=(replace(trial, chains={}),))
            )
        check_networks(jobs[0])
        return jobs

    def _within(self, point: Point) -> Point:
        """Return a point with its numbers inside the space, which rounding may have left."""
        bounds = {
            name: (span.low, span.high)
            for name, span in self._space.items()
            if isinstance(span, optuna.distributions.FloatDistribution)
        }
        return {
            name: min(max(float(value), bounds[name][0]), bounds[name][1])
            if name in bounds
            else value
            for name, value in point.items()
        }

    def _write(self, candidate: Candidate, error: str | None = None) -> None:
        seeds, reached = self._search.seeds, candidate.objectives
        about = {
            "study": self._planner.study.study,
            "number": candidate.number,
            "configuration": candidate.name,
            "parameters": canonical(candidate.point),
            "state": candidate.state,
            "optuna": optuna.__version__,
        }
        rows = [
            {**about, "seed": seed, "objective": value}
            for seed, value in zip(seeds, reached, strict=False)
        ] or [{**about, "seed": seeds[0], "objective": None}]
        try:
            write_part(self._results, "search", f"{self._prefix}{candidate.number:05d}", rows)
        except StorageError as away:
            self._stop.without_storage(away)
        mean = f"{100 * sum(reached) / len(reached):5.1f} %" if reached else "    –"
        why = "" if error is None else f": {error}"
        logger.info(
            f"search {candidate.number + 1:3}  {mean}  {candidate.state}, {len(reached)} seeds: "
            f"{candidate.name}{why}"
        )


def other_optuna(done: pd.DataFrame) -> str | None:
    """Return a line that says which other versions of Optuna a search was made by, or None.

    Args:
        done: rows of the `search` table; trials of before the column do not say.

    """
    versions = done.groupby("number")["optuna"].first().dropna() if "optuna" in done else None
    if versions is None:
        return None
    others = versions[versions != optuna.__version__].value_counts().sort_index()
    if others.empty:
        return None
    made = ", ".join(f"{count} by Optuna {version}" for version, count in others.items())
    return (
        f"configurations were proposed {made}; this is Optuna {optuna.__version__}, whose "
        "proposals from the same seed may differ; they are kept, and the search goes on"
    )


def _distributions(planner: Planner) -> dict[str, optuna.distributions.BaseDistribution]:
    space = search_of(planner.study).space
    found: dict[str, optuna.distributions.BaseDistribution] = {
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


def tuned_objective(results: Location, trial_key: str, objective: str) -> float:
    """Return the objective on the tune split at the threshold tuned on it.

    With several classes it is their mean. It is 0 without any scores.
    """
    scores = read_table(results, "scores", keys=[trial_key])
    if scores.empty:
        return 0.0
    outcomes = trial_figures(scores, objective=objective, fixed=0.5).outcomes
    here = outcomes[
        (outcomes["split"] == "tune")
        & (outcomes["rule"] == "tuned")
        & (outcomes["network"] == "student")
    ]
    of_all = here[here["class_name"] == MEAN_OF_CLASSES]
    value = float((of_all if len(of_all) else here)[objective].iloc[0])
    return 0.0 if math.isnan(value) else value
