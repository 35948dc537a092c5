"""The trials of a search under Ray Tune: ASHA prunes them, the ledger keeps how they ended.

What befalls a trial and is none of its own doing costs it nothing: one whose worker died is started
again, one that met a GPU which cannot be used is tried on another, and where nothing can be kept
the search ends and goes on where it was.
"""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from dataclasses import replace
from typing import Any

from studies.cluster.ray_start import node_amounts

# ruff: isort: split
import pandas as pd
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from reports.ledger.parts import read_table, write_part
from reports.names import MEAN_OF_CLASSES
from reports.results.outcomes import trial_figures
from reports.storage.errors import StorageError
from reports.storage.locations import Location
from studies.planning.capacity import require_room, slots, whole_gpu
from studies.planning.plan import Plan
from studies.planning.planner import Planner
from studies.ray_tune.callbacks import (
    QuarantinedGpus,
    StopCallback,
    StopWhenAsked,
    error_of,
    is_node_loss,
)
from studies.ray_tune.runner import SIMULATED_GPUS, quarantine_gpu, run_config, share_of
from studies.ray_tune.scratch import tune_scratch
from studies.scheduling.schedule import JOB_RETRIES, OTHER_DRIVERS_S
from studies.scheduling.stopping import Stop
from studies.search.candidates import row_name
from studies.search.sampler import ConfigurationSearcher
from studies.spec.study import Study
from studies.stages.context import RunContext
from studies.stages.device import return_freed_memory
from studies.stages.job import run_job
from studies.stages.outcome import JobStatus, Outcome
from studies.store.keys import canonical
from wsss_core.errors import InputError

logger = logging.getLogger(__name__)


def run_trials(
    plan: Plan, planner: Planner, done: pd.DataFrame, prefix: str, left: int, results: Location,
    context: RunContext, stop: Stop,
) -> None:  # fmt: skip
    """Try configurations on the Ray that runs; each is in the `search` table once it has ended.

    Args:
        plan: of a study with a `search` section.
        planner: makes its jobs.
        done: rows of the `search` table that the sampler starts from.
        prefix: of the names of the table's parts.
        left: configurations to try.
        results: the folder of the ledger.
        context: its run.
        stop: ends the search when it is asked; trials that run are broken off. It is told when no
            GPU is left that can be used, and of a damaged artifact, which a further run makes
            again.

    Raises:
        InputError: a trial that no node has room for.

    """
    search = plan.study.search
    assert search is not None
    nodes = node_amounts()
    # All trials of a search are of one paradigm, so they ask for one and the same.
    asked = plan.study.resources.demand(search.paradigm).asks(whole_gpu(nodes))
    require_room([(f"the search ({search.paradigm})", asked)], nodes)
    at_once = slots(asked, nodes)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(at_once)
    # How a trial ended is reported too, which has no objective.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    trainable = tune.with_parameters(
        _search_trial,
        context=replace(context, simulated_gpus=bool(os.environ.get(SIMULATED_GPUS))),
        objective=plan.study.thresholds.objective,
        asked=asked,
    )
    searcher = ConfigurationSearcher(search, planner, done, left)
    ledger = SearchLedger(plan.study, results, prefix, searcher, stop, at_once)
    with tune_scratch() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(trainable, asked),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=ASHAScheduler(
                    metric="objective",
                    mode="max",
                    time_attr="seeds_done",
                    max_t=max(len(search.seeds), search.grace),
                    grace_period=search.grace,
                    reduction_factor=2,
                ),
                num_samples=-1,
                reuse_actors="GPU" not in asked,
                trial_dirname_creator=lambda trial: f"search_{trial.trial_id}",
            ),
            # A trial whose worker died is the searcher's to start again.
            run_config=run_config(
                plan, scratch, StopWhenAsked(stop, searcher), [ledger, StopCallback(stop)]
            ),
        )
        tuner.fit()


class SearchLedger(tune.Callback):
    """Writes a part of the `search` table as each trial ends, and says so.

    One that was broken off, or is tried again, has not ended.
    """

    def __init__(
        self, study: Study, results: Location, prefix: str, searcher: ConfigurationSearcher,
        stop: Stop, at_once: int,
    ) -> None:  # fmt: skip
        self._study, self._results, self._prefix = study, results, prefix
        self._searcher, self._stop = searcher, stop
        self._quarantined = QuarantinedGpus(at_once)
        self._values: dict[int, list[dict[str, Any]]] = {}
        self._errors: dict[int, str] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """One more seed of a trial is scored, or it can go no further."""
        number = trial.config["number"]
        outcome: Outcome | None = result.get("outcome")
        if outcome is None:
            return
        error = str(outcome.error)
        match outcome.status:
            case JobStatus.OK | JobStatus.COLLAPSED as status:
                values = self._values.setdefault(number, [])
                if len(values) < result["seeds_done"]:  # else it is told again, after a death
                    values.append({"objective": result["last"], "status": status})
            case JobStatus.FAILED:
                self._errors[number] = error
            case JobStatus.STORAGE_DOWN:
                self._stop.without_storage(error)
            case JobStatus.INPUT_CORRUPT:
                with self._stop.keeping_faults():
                    raise InputError(f"{error}; run again, and it is made again")
            case JobStatus.GPU_FAILED:
                logger.warning("  %s", error)
                self._quarantined.add(trial.trial_id)
                with self._stop.keeping_faults():
                    self._quarantined.require_one_left(error)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial was scored under all of its seeds, ASHA stopped it, or it failed."""
        if trial.trial_id not in self._quarantined and not self._stop.asked:
            self._write(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's worker died."""
        if self._quarantined.lost(trial.trial_id) or self._stop.asked:
            return
        number, error = trial.config["number"], error_of(trial)
        what = "node was lost" if is_node_loss(error) else "worker process died"
        if self._searcher.comes_again(number):
            logger.warning("search %3d  its %s; it is started again", number + 1, what)
            return
        self._errors[number] = f"its {what}, {JOB_RETRIES + 1} times"
        self._write(trial)

    def _write(self, trial: Any) -> None:
        search = self._study.search
        assert search is not None
        number, parameters = trial.config["number"], trial.config["parameters"]
        values, error = self._values.get(number, []), self._errors.get(number)
        name = row_name(search.row(parameters), self._study)
        state = "complete" if len(values) == len(search.seeds) else "pruned"
        if error is not None:
            state = "failed"
        if any(value["status"] == "collapsed" for value in values):
            state = "collapsed"
        about = {
            "study": self._study.study,
            "number": number,
            "configuration": name,
            "parameters": canonical(parameters),
            "state": state,
        }
        rows = [
            {**about, "seed": seed, "objective": value["objective"]}
            for seed, value in zip(search.seeds, values, strict=False)
        ] or [{**about, "seed": search.seeds[0], "objective": None}]
        try:
            write_part(self._results, "search", f"{self._prefix}{number:05d}", rows)
        except StorageError as away:
            self._stop.without_storage(away)
        reached = [v["objective"] for v in values]
        mean = f"{100 * sum(reached) / len(reached):5.1f} %" if reached else "    –"
        why = "" if error is None else f": {error}"
        logger.info(f"search {number + 1:3}  {mean}  {state}, {len(values)} seeds: {name}{why}")


def _search_trial(
    config: dict[str, Any], context: RunContext, objective: str, asked: dict[str, float]
) -> None:
    """One trial inside a worker: seed after seed, each reported to ASHA."""
    share = share_of(asked, context)
    reached: list[float] = []
    for job in config["jobs"]:
        while (outcome := run_job(job, context, share)).status is JobStatus.LEASED_ELSEWHERE:
            # Another driver trains this very job; a search trial is a chain of them, and the next
            # cannot be told before this one has ended.
            time.sleep(OTHER_DRIVERS_S)
        return_freed_memory()
        if outcome.status is JobStatus.GPU_FAILED:
            quarantine_gpu(outcome)
        if not outcome.has_result:
            tune.report({"outcome": outcome})
            return
        try:
            value = tuned_objective(context.results, job.trials[0].key, objective)
        except StorageError as away:
            tune.report({"outcome": Outcome(JobStatus.STORAGE_DOWN, str(away))})
            return
        reached.append(value)
        tune.report({
            "objective": sum(reached) / len(reached),
            "last": reached[-1],
            "seeds_done": len(reached),
            "outcome": outcome,
        })  # fmt: skip


def tuned_objective(results: Location, trial_key: str, objective: str) -> float:
    """The objective on the tune split at the threshold tuned on it; 0 without any scores.

    Of several classes it is their mean.
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
