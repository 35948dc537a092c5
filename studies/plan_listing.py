"""What `wsss plan` prints: trials, what is cached, what it will cost."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from reports.ledger import read_table
from studies.artifacts import ArtifactStore
from studies.keys import canonical
from studies.plan import Plan
from studies.progress import duration


def describe(plan: Plan, store: ArtifactStore, results: Path) -> str:
    """The trials of a study with their keys and states, and the work that is left.

    The cost in time is taken from the trials of this results folder: for each training run, the
    mean second per epoch of those with the same networks and paradigm, or of all if there are none.
    """
    study = plan.study
    pending = plan.pending(store)
    waiting = {unit.key for unit in pending}
    lines = [f"{study.study}: {study.title}", ""]
    width = max(len(name) for name, _ in study.rows())
    lines.append(f"{'configuration':{width}}  seed  trial                 state")
    owner = {trial.key: unit for unit in plan.units.values() for trial in unit.trials}
    for trial in plan.trials:
        unit = owner[trial.key]
        if store.has("scores", trial.key):
            state = "done"
        elif unit.key not in waiting or store.has("train", unit.key):
            state = "trained, to be scored"
        elif unit.parent in waiting and not store.has("train", unit.parent):
            state = "to be trained after its teacher"
        else:
            state = "to be trained"
        at = f"  {study.dial.name} = {trial.dial_value:g}" if study.dial else ""
        lines.append(f"{trial.configuration:{width}}  {trial.seed:4}  {trial.key}  {state}{at}")
    training = [unit for unit in pending if not store.has("train", unit.key)]
    teachers = [unit for unit in training if not unit.trials]
    passes = sum(
        unit.settings["training"]["epochs"]
        * (2 if unit.settings["paradigm"] == "co-training" else 1)
        for unit in training
    )
    lines += [
        "",
        f"{len(plan.trials)} trials, {len(training)} training runs to do"
        + (f" ({len(teachers)} of them teachers that no row reports)" if teachers else "")
        + f": {passes} passes over the training images",
    ]
    lines += _chains(plan, store)
    if study.search is not None:
        search = study.search
        lines.append(
            f"before them a search: {search.trials} configurations, each under up to "
            f"{len(search.seeds)} seeds; its best {search.confirm} join the rows above"
        )
    if training:
        lines.append(_cost(plan, [unit.key for unit in training], results))
    return "\n".join(lines)


def _chains(plan: Plan, store: ArtifactStore) -> list[str]:
    """Every refinement chain, over how many trials it is done, or why it is not run."""
    lines = ["", "refinement, beside the plain CAM:"] if plan.chains else []
    runnable = [chain.name for chain in plan.runnable_chains]
    for chain in plan.chains:
        if chain.lacks is not None:
            lines.append(f"  {chain.name}: not run, {chain.lacks}")
            continue
        place = runnable.index(chain.name)
        done = sum(store.has("scores", trial.chain_keys[place]) for trial in plan.trials)
        lines.append(f"  {chain.name}: done over {done} of {len(plan.trials)} trials")
    return lines


def _cost(plan: Plan, keys: list[str], results: Path) -> str:
    measured = read_table(results, "trials", columns=["settings", "seconds_training", "status"])
    measured = measured[(measured["status"] == "ok") & measured["seconds_training"].notna()]
    if measured.empty:
        return "no trial of this results folder is measured yet: the first ones give the estimate"
    per_epoch = defaultdict(list)
    for text, seconds in zip(measured["settings"], measured["seconds_training"], strict=True):
        settings = json.loads(text)
        per_epoch[_kind(settings)].append(seconds / settings["training"]["epochs"])
    of_all = fmean(itertools.chain(*per_epoch.values()))
    total = 0.0
    for settings in (plan.units[key].settings for key in keys):
        alike = per_epoch.get(_kind(settings))
        total += settings["training"]["epochs"] * (fmean(alike) if alike else of_all)
    return f"about {duration(total)} of one trial's resources, from {len(measured)} measured trials"


def _kind(settings: dict[str, Any]) -> str:
    """What the time of an epoch depends on most."""
    return canonical([settings["paradigm"], settings["student"], settings.get("teacher")])
