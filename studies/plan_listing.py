"""What `wsss plan` prints: trials, what is cached, what it will cost."""

from __future__ import annotations

import json
from pathlib import Path

from reports.ledger import read_table
from studies.artifacts import ArtifactStore
from studies.plan import Plan
from studies.progress import duration


def describe(plan: Plan, store: ArtifactStore, results: Path) -> str:
    """The trials of a study with their keys and states, and the work that is left.

    The cost in time is taken from trials of the same kind that were measured before, in this
    results folder; without any, only the number of images to train on is known.
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
        elif unit.parent in waiting:
            state = "to be trained after its teacher"
        else:
            state = "to be trained"
        lines.append(f"{trial.configuration:{width}}  {trial.seed:4}  {trial.key}  {state}")
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
    if training:
        lines.append(_cost(plan, [unit.key for unit in training], results))
    return "\n".join(lines)


def _cost(plan: Plan, keys: list[str], results: Path) -> str:
    measured = read_table(results, "trials", columns=["settings", "seconds_training", "status"])
    measured = measured[(measured["status"] == "ok") & measured["seconds_training"].notna()]
    if measured.empty:
        return "no trial of this results folder is measured yet: the first ones give the estimate"
    per_epoch = []
    for settings, seconds in zip(measured["settings"], measured["seconds_training"], strict=True):
        per_epoch.append(seconds / json.loads(settings)["training"]["epochs"])
    epochs = sum(plan.units[key].settings["training"]["epochs"] for key in keys)
    total = epochs * sum(per_epoch) / len(per_epoch)
    return f"about {duration(total)} of one trial's resources, from {len(measured)} measured trials"
