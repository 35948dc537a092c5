"""Timings: what the trials of a results folder took, by kind of training run.

A kind is a paradigm with its networks at one image size, batch size and precision. A kind that was
never measured is predicted from the others, per pass of a network over the training images
(co-training makes two passes an epoch). Trials on another device than the latest one are left out.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.ledger.parts import part_name, read_arrow, table_folder
from reports.storage import Location
from studies.planning.plan import Plan
from studies.rates import Rates, Work
from studies.store import canonical

SAMPLE = 8  # trials of a kind, and of a chain, that are read
OTHERS = 64  # trials of other studies in the same results folder that are read

_COLUMNS = ("status", "settings", "train_fingerprint", "device", "cpus", "gpus", "started_at",
            "seconds_training", "seconds_scoring")  # fmt: skip


def passes(settings: Mapping[str, Any]) -> int:
    """Return how often a training run takes a network that learns over its images."""
    learning = 2 if settings["paradigm"] == "co-training" else 1
    return int(settings["training"]["epochs"]) * learning


def kind(settings: Mapping[str, Any]) -> str:
    """Return a name that training runs share whose epochs take equally long."""
    training = settings["training"]
    return canonical(
        [
            *(settings.get(name) for name in ("paradigm", "student", "teacher", "image_size")),
            training["batch_size"],
            training["precision"],
        ]
    )


def training_work(settings: Mapping[str, Any], *narrower: Hashable) -> Work:
    """Return the work of a training run.

    Args:
        settings: the training run's.
        narrower: kinds within the training run's own, the narrowest first, such as its share of a
            machine.

    """
    own = kind(settings)
    return Work((*((own, more) for more in narrower), own, "training"), passes(settings))


def scoring_work(settings: Mapping[str, Any]) -> Work:
    """Return the work of scoring one trial."""
    return Work((("scoring", kind(settings)), ("scoring", settings["paradigm"]), "scoring"))


def chain_work(chain: str) -> Work:
    """Return the work of a chain over one trial, on a CPU core."""
    return Work((("chain", chain),))


@dataclass(frozen=True)
class Timings:
    """What the trials of a results folder took.

    Attributes:
        trials: how many were read; 0 where nothing was measured.
        device: where they ran.
        with_gpu: whether any had a GPU or a share of one.
        rates: seconds of `training_work`, `scoring_work` and `chain_work`.

    """

    trials: int = 0
    device: str = ""
    with_gpu: bool = False
    rates: Rates = field(default_factory=Rates)


def read_timings(plan: Plan, results: Location) -> Timings:
    """Read what trials of a results folder took: a few of each kind, not all of them.

    Args:
        plan: the kinds of its training runs are read first.
        results: the folder of the ledger.

    """
    of_kind: dict[Hashable, list[str]] = defaultdict(list)
    for job in plan.jobs.values():
        of_kind[kind(job.settings), job.resources] += [trial.key for trial in job.trials]
    names = table_folder(results, "trials").listing()
    own = {part_name(trial.key) for trial in plan.trials}
    others = [name.removesuffix(part_name("")) for name in names if name not in own]
    keys = [*_latest(of_kind.values(), names), *others[:OTHERS]]
    table = read_arrow(results, "trials", keys=keys, columns=_COLUMNS).sort_by("started_at")
    # Without the column, as pyarrow loads pandas to make moments of it.
    trials = table.drop_columns("started_at").to_pylist()
    trials = [row for row in trials if row["status"] == "ok" and row["seconds_training"]]
    if not trials:
        return Timings()
    device = _device(trials[-1])
    trials = [row for row in trials if _device(row) == device]
    timings = Timings(len(trials), device, any(row["gpus"] for row in trials))
    for row in trials:
        settings = json.loads(row["settings"])
        share = row["cpus"] or 1, row["gpus"] or 0.0
        work = training_work(settings, (share, row["train_fingerprint"]), share)
        timings.rates.learn(work, row["seconds_training"])
        timings.rates.learn(scoring_work(settings), row["seconds_scoring"] or 0.0)
    _learn_chains(plan, results, timings.rates)
    return timings


def _learn_chains(plan: Plan, results: Location, rates: Rates) -> None:
    if not plan.runnable_chains:
        return
    names = table_folder(results, "refined").listing()
    keys = _latest(
        ([trial.chains[chain.name] for trial in plan.trials] for chain in plan.runnable_chains),
        names,
    )
    columns = ("refinement", "status", "seconds")
    for row in read_arrow(results, "refined", keys=keys, columns=columns).to_pylist():
        if row["status"] == "ok" and row["seconds"] is not None:
            rates.learn(chain_work(row["refinement"]), row["seconds"])


def _latest(groups: Iterable[Sequence[str]], names: Collection[str]) -> list[str]:
    """Return the last keys of each group that have a part in the ledger."""
    there = ([key for key in keys if part_name(key) in names] for keys in groups)
    return [key for keys in there for key in keys[-SAMPLE:]]


def _device(trial: Mapping[str, Any]) -> str:
    """Return a device's name; a CPU with another number of threads is the same device.

    >>> _device({"device": "x86_64 CPU, 2 thread(s)"})
    'x86_64 CPU'
    """
    return re.sub(r", \d+ thread\(s\)$", "", trial["device"] or "an unnamed device")
