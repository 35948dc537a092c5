"""A search over ways to transfer: Optuna's TPE suggests, ASHA prunes, fresh seeds confirm.

A search's own numbers chose its winners and are therefore no results. They are kept in the ledger's
`search` table, from which a search that was broken off goes on; what is reported is the best
configurations again, under seeds that the search has not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any

from studies.ray_start import start_ray
from studies.search_trials import row_name, run_trials
from studies.tune_runner import run_with_tune

# ruff: isort: split
import pandas as pd
import ray

from reports.ledger import part_name, parts_of, read_table, table_folder
from reports.storage import Location, StorageError, is_uri, local_path
from studies.artifacts import ArtifactStore
from studies.keys import canonical
from studies.nodes import check_nodes
from studies.plan import Plan, Planner
from studies.preflight import preflight
from studies.progress import Progress
from studies.runner import run_context
from studies.search_spec import Search
from studies.spec import Study
from studies.stopping import Stop
from wsss_core.errors import InputError


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
                run_trials(plan, planner, done, prefix, left, results, context, stop, say)
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
        name = f"search {rank}: {row_name(row, study)}"
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
