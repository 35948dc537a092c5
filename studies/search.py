"""A search over ways to transfer: Optuna's TPE suggests, ASHA prunes, fresh seeds confirm.

A search's own numbers chose its winners and are therefore no results. They are kept in the ledger's
`search` table, from which a search that was broken off goes on; what is reported is the best
configurations again, under seeds that the search has not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

from studies.ray_start import node_amounts, start_ray
from studies.tune_runner import run_with_tune

# ruff: isort: split
import optuna
import pandas as pd
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from reports.ledger import part_name, parts_of, read_table, table_folder, write_part
from reports.outcomes import MEAN_OF_CLASSES, trial_figures
from reports.storage import Location, StorageError, is_uri, local_path
from studies.artifacts import ArtifactStore
from studies.configuration import Row, describe
from studies.keys import canonical
from studies.nodes import check_nodes
from studies.plan import Plan, Planner
from studies.plan_searcher import StopCallback, StopWhenAsked, error_of
from studies.preflight import check_networks, preflight
from studies.progress import Progress
from studies.resources import require_room, slots, whole_gpu
from studies.runner import run_context
from studies.schedule import LOOK_S
from studies.search_spec import Search
from studies.spec import Study
from studies.stopping import Stop
from studies.trial import run_unit
from studies.worker_share import return_freed_memory, use_share
from wsss_core.errors import InputError

_ATTEMPTS = 100

STORAGE_AWAY = "nothing can be kept: "
"""Marks the error of a search trial that is none of its own."""


def run_search(
    study: Study,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
    say: Callable[[str], None] = print,
) -> Study:
    """Search, and return the study that confirms the best: its rows and theirs, fresh seeds.

    Args:
        study: with a `search` section.
        results: the folder of the ledger.
        store: where trained networks are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        say: where progress lines go.

    Raises:
        InputError: anything `studies.preflight` finds, or no trial of the search ended well.

    """
    search = study.search
    assert search is not None
    results = results if is_uri(results) else local_path(results)
    planner, plan = first_units(study)
    prefix = _prefix(study, planner)
    done = _finished(results, prefix)
    left = search.trials - done["number"].nunique()
    if left > 0:
        units = list(plan.units.values())
        preflight(plan, units, store, results, say)
        context = run_context(plan, store, results)
        stop = Stop()
        started_here = start_ray(address)
        try:
            check_nodes(plan, units, context, say)
            _train_teachers(plan, store, context, address, stop, say)
            say(f"{study.study}: search, {left} of {search.trials} configurations to try")
            # After Ray has started: it takes SIGTERM for itself.
            with stop.listening():
                _tune(plan, planner, done, prefix, left, results, context, stop, say)
        finally:
            if started_here:
                ray.shutdown()
            with contextlib.suppress(OSError, StorageError):
                store.leases.drop_run(context["run"])
        if stop.storage is not None:
            raise StorageError(stop.storage)
        if stop.signal is not None:
            raise KeyboardInterrupt
    return confirmation(study, _finished(results, prefix), say)


def first_units(study: Study) -> tuple[Planner, Plan]:
    """What can be known of a search before it begins: the units of one point of its space.

    Returns:
        The planner of all its units, and a plan of these.

    """
    search = study.search
    assert search is not None
    planner = Planner(study, {})
    first = search.row(_a_point(search))
    for seed in search.seeds:
        planner.unit(first, seed)
    return planner, Plan(study, planner.units, planner.cam_settings)


def confirmation(study: Study, searched: pd.DataFrame, say: Callable[[str], None] = print) -> Study:
    """The study without its search and with the winners as rows.

    Args:
        study: with a `search` section.
        searched: rows of the ledger's `search` table.
        say: where the winners are named.

    Raises:
        InputError: no search trial was scored under all seeds.

    """
    search = study.search
    assert search is not None
    whole = searched[searched["state"] == "complete"]
    if whole.empty:
        raise InputError(f"{study.study}: no search trial was scored under all of its seeds")
    means = whole.groupby("number").agg(objective=("objective", "mean"),
                                        parameters=("parameters", "first"))  # fmt: skip
    best = means.sort_values("objective", ascending=False, kind="stable")
    best = best.drop_duplicates("parameters").head(search.confirm)
    raw = study.model_dump(by_alias=True, exclude_unset=True)
    del raw["search"]
    for rank, (_, found) in enumerate(best.iterrows(), 1):
        row = search.row(json.loads(found["parameters"]))
        name = f"search {rank}: {_called(row, study)}"
        say(f"  {name}: {100 * found['objective']:.1f} % on the tune split")
        raw["configurations"].append({
            "name": name,
            "paradigm": row.paradigm,
            "student": row.student,
            "teacher": row.teacher,
            "metric": row.metric,
            "level": row.level,
            "representation": row.representation,
            "lambda": row.weight,
            "training": row.training.model_dump(exclude_none=True),
        })  # fmt: skip
    return Study.model_validate(raw)


def _called(row: Row, study: Study) -> str:
    name = f"{describe(row, study.label, name_networks=False)}, λ {row.weight:g}"
    rate = row.training.learning_rate
    return name if rate is None else f"{name}, rate {rate:g}"


def _prefix(study: Study, planner: Planner) -> str:
    """Names the parts of this very search: another space, data or training is another search."""
    assert study.search is not None
    content = canonical([
        study.search.model_dump(mode="json", exclude={"trials", "confirm"}),
        planner.backbones[study.search.student][0],
        planner.backbones[study.search.teacher][0],
        study.training.model_dump(mode="json"),
        planner.cam_settings,
        planner.images.fingerprints,
        study.thresholds.objective,
    ])  # fmt: skip
    digest = hashlib.blake2b(content.encode(), digest_size=5).hexdigest()
    return f"{study.file_name}.{digest}."


def _finished(results: Location, prefix: str) -> pd.DataFrame:
    names = parts_of(table_folder(results, "search"), None)
    keys = [name.removesuffix(part_name("")) for name in names if name.startswith(prefix)]
    return read_table(results, "search", keys=keys)


def _a_point(search: Search) -> dict[str, str | float]:
    space = search.space
    return {
        "metric": space.metric[0],
        "level": space.level[0],
        "representation": space.representation[0],
        "lambda": space.weight.low,
    }


def _train_teachers(
    plan: Plan, store: ArtifactStore, context: dict[str, Any], address: str | None, stop: Stop,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Teachers first: two search trials would otherwise train one and the same at once."""
    awaited = {unit.parent for unit in plan.units.values()}
    missing = [
        unit for key, unit in plan.units.items() if key in awaited and not store.has("train", key)
    ]
    if missing:
        outcomes = run_with_tune(
            plan, missing, context, address, Progress(missing, say), stop, checked=True
        )
        if stop.storage is not None:
            raise StorageError(stop.storage)
        if stop.signal is not None:
            raise KeyboardInterrupt
        bad = [o["error"] for o in outcomes.values() if o["status"] != "ok"]
        if bad or len(outcomes) < len(missing):
            raise InputError(f"a teacher of the search was not trained: {(bad or ['stopped'])[0]}")


def _tune(
    plan: Plan, planner: Planner, done: pd.DataFrame, prefix: str, left: int, results: Location,
    context: dict[str, Any], stop: Stop, say: Callable[[str], None],
) -> None:  # fmt: skip
    search = plan.study.search
    assert search is not None
    nodes = node_amounts()
    # All trials of a search are of one paradigm, so they ask for one and the same.
    asked = plan.study.resources.demand(search.paradigm).asks(whole_gpu(nodes))
    require_room([(f"the search ({search.paradigm})", asked)], nodes)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots(asked, nodes))
    scratch = tempfile.mkdtemp(prefix="wsss-")
    trainable = tune.with_parameters(
        _search_trial,
        context=context,
        objective=plan.study.thresholds.objective,
        asked=asked,
    )
    first = int(done["number"].max()) + 1 if len(done) else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(trainable, asked),
            tune_config=tune.TuneConfig(
                search_alg=ConfigurationSearcher(search, planner, done),
                scheduler=ASHAScheduler(
                    metric="objective",
                    mode="max",
                    time_attr="seeds_done",
                    max_t=max(len(search.seeds), search.grace),
                    grace_period=search.grace,
                    reduction_factor=2,
                ),
                num_samples=left,
                reuse_actors="GPU" not in asked,
                trial_dirname_creator=lambda trial: f"search_{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=plan.study.file_name,
                storage_path=scratch,
                verbose=0,
                stop=StopWhenAsked(stop),
                callbacks=[
                    _LedgerCallback(plan.study, results, prefix, first, stop, say),
                    StopCallback(stop),
                ],
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class ConfigurationSearcher(Searcher):
    """Optuna's TPE over a search's space; what it suggests is turned into units, one a seed.

    Args:
        search: the space and the seeds.
        planner: makes units.
        done: rows of the ledger's `search` table that the sampler starts from.

    """

    def __init__(self, search: Search, planner: Planner, done: pd.DataFrame) -> None:
        super().__init__(metric="objective", mode="max")
        self._search = search
        self._planner = planner
        self._asked: dict[str, str] = {}
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
        """A point of the space with a unit for each seed; points that cannot work are passed over.

        Not every level suits every representation: the cosine of single numbers has no gradient.
        """
        for attempt in range(_ATTEMPTS):
            tried = trial_id if attempt == 0 else f"{trial_id}-{attempt}"
            point = self._optuna.suggest(tried)
            if not isinstance(point, dict):
                return point
            point = _rounded(point)
            try:
                units = self._units(self._search.row(point))
            except InputError:
                self._optuna.on_trial_complete(tried, error=True)
                continue
            self._asked[trial_id] = tried
            return {"parameters": point, "units": units}
        raise InputError(f"search: {_ATTEMPTS} points in a row could not be built")

    def _units(self, row: Row) -> list[dict[str, Any]]:
        units = []
        for seed in self._search.seeds:
            trial = self._planner.trial(_called(row, self._planner.study), 0, row, seed)
            unit = self._planner.unit(row, seed)
            check_networks([unit])
            units.append({
                **unit.as_config(),
                "trials": [{"key": trial.key, "configuration": trial.configuration, "seed": seed}],
            })  # fmt: skip
        return units

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on what one more seed gave."""
        self._optuna.on_trial_result(self._asked[trial_id], result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on how a trial ended."""
        self._optuna.on_trial_complete(self._asked.pop(trial_id, trial_id), result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the ledger's `search` table says what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to bring back."""


def _distributions(search: Search) -> dict[str, Any]:
    space = search.space
    found: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(getattr(space, name))
        for name in ("metric", "level", "representation")
    }
    for name, span in (("lambda", space.weight), ("learning_rate", space.learning_rate)):
        if span is not None:
            found[name] = optuna.distributions.FloatDistribution(span.low, span.high, log=True)
    return found


def _rounded(point: dict[str, Any]) -> dict[str, Any]:
    """Numbers to three digits: more say nothing, and a table has to print them."""
    return {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in point.items()}


class _LedgerCallback(tune.Callback):
    """Writes a part of the `search` table as each search trial goes on and ends."""

    def __init__(
        self, study: Study, results: Location, prefix: str, first: int, stop: Stop,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._study, self._results, self._prefix, self._say = study, results, prefix, say
        self._stop = stop
        self._numbers: dict[str, int] = {}
        self._first = first
        self._values: dict[str, list[dict[str, Any]]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """One more seed of a trial is scored."""
        values = self._values.setdefault(trial.trial_id, [])
        if len(values) < result["seeds_done"]:
            values.append({"objective": result["last"], "status": result["status"]})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial was scored under all of its seeds, or ASHA stopped it."""
        self._write(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's worker died, or a training run of it failed."""
        if STORAGE_AWAY in (error := error_of(trial)):
            # The trial did not fail, it can be tried again.
            self._stop.without_storage(error.rpartition(STORAGE_AWAY)[2].splitlines()[0])
            return
        self._write(trial, failed=True)

    def _write(self, trial: Any, *, failed: bool = False) -> None:
        search = self._study.search
        assert search is not None
        number = self._numbers.setdefault(trial.trial_id, self._first + len(self._numbers))
        values = self._values.get(trial.trial_id, [])
        parameters = trial.config["parameters"]
        name = _called(search.row(parameters), self._study)
        whole = len(values) == len(search.seeds)
        state = "failed" if failed else "complete" if whole else "pruned"
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
        self._say(f"search {number + 1:3}  {mean}  {state}, {len(values)} seeds: {name}")


def _search_trial(
    config: dict[str, Any], context: dict[str, Any], objective: str, asked: dict[str, float]
) -> None:
    """One search trial inside a worker: seed after seed, each reported to ASHA."""
    context = {**context, **use_share(asked)}
    reached: list[float] = []
    for unit in config["units"]:
        while (outcome := run_unit(unit, context))["status"] == "elsewhere":
            # Another driver trains this very unit; a search trial is a chain of them, and the next
            # cannot be told before this one has ended.
            time.sleep(LOOK_S)
        return_freed_memory()
        if outcome["status"] == "storage":
            raise RuntimeError(STORAGE_AWAY + outcome["error"])
        if outcome["status"] not in ("ok", "collapsed"):
            raise RuntimeError(outcome["error"])
        key = unit["trials"][0]["key"]
        reached.append(tuned_objective(context["results"], key, objective))
        tune.report({
            "objective": sum(reached) / len(reached),
            "last": reached[-1],
            "seeds_done": len(reached),
            "status": outcome["status"],
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
