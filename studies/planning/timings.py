"""What trials have taken, by kind, and what others will take by that.

A kind is a paradigm with its networks at one image and batch size. What was never measured is
taken from what was, per pass of a network over the training images: co-training makes two an epoch.
Trials on other devices than the last one say nothing of it, so they are left out.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from reports.ledger.parts import part_name, read_table, table_folder
from reports.storage.locations import Location
from studies.planning.plan import Plan, Unit
from studies.store.keys import canonical

SAMPLE = 8
"""So many measured trials of a kind say what another of it will take."""

OTHERS = 64
"""So many trials of other studies in the same results folder are looked at besides."""

_COLUMNS = (
    "trial_key", "status", "settings", "train_fingerprint", "device", "cpus", "gpus", "started_at",
    "seconds_training", "seconds_scoring", "epochs",
)  # fmt: skip


def passes(settings: dict[str, Any]) -> int:
    """How often a training run takes a network that learns over its images."""
    return int(settings["training"]["epochs"]) * _learning(settings)


def _learning(settings: dict[str, Any]) -> int:
    return 2 if settings["paradigm"] == "co-training" else 1


def kind(settings: dict[str, Any]) -> str:
    """What the time of an epoch depends on most."""
    return canonical([
        settings["paradigm"],
        settings["student"],
        settings.get("teacher"),
        settings["image_size"],
        settings["training"]["batch_size"],
        settings["training"]["precision"],
    ])  # fmt: skip


class Means:
    """Means of numbers under several names each, the most telling name first."""

    def __init__(self) -> None:
        self._found: dict[Hashable, list[float]] = defaultdict(list)

    def add(self, names: Iterable[Hashable], value: float) -> None:
        """Keep a number under each of its names."""
        for name in names:
            self._found[name].append(value)

    def of(self, names: Iterable[Hashable]) -> float | None:
        """The mean of the first name that any number has."""
        for name in names:
            if name in self._found:
                return fmean(self._found[name])
        return None


@dataclass
class Measured:
    """What the trials of a results folder took.

    Attributes:
        trials: how many were looked at; 0: nothing is known.
        device: where they ran.
        with_gpu: whether they had a GPU or a share of one.

    """

    trials: int = 0
    device: str = ""
    with_gpu: bool = False
    epoch: Means = field(default_factory=Means)
    a_pass: Means = field(default_factory=Means)
    scoring: Means = field(default_factory=Means)
    refining: Means = field(default_factory=Means)

    def training_seconds(self, unit: Unit, kind: str) -> tuple[float, bool]:
        """What a training run of a kind takes, and whether its kind was measured."""
        fingerprint = unit.images.fingerprints.get("train")
        found = self.epoch.of(_names(kind, self._share(unit), fingerprint))
        if found is not None:
            return unit.settings["training"]["epochs"] * found, True
        return passes(unit.settings) * (self.a_pass.of(["any"]) or 0.0), False

    def scoring_seconds(self, unit: Unit, kind: str) -> float:
        """What scoring one trial of a unit takes."""
        return self.scoring.of([kind, unit.settings["paradigm"], "any"]) or 0.0

    def refining_seconds(self, chain: str) -> float:
        """What a chain over one trial takes on a CPU core; 0 where it was never measured."""
        return self.refining.of([chain]) or 0.0

    def _share(self, unit: Unit) -> tuple[int, float]:
        gpus = unit.resources.asks(float(self.with_gpu)).get("GPU", 0.0)
        return unit.resources.cpus, gpus


def measured(plan: Plan, results: Location) -> Measured:
    """Read what trials of a results folder took: a few of each kind, not all of them.

    Args:
        plan: whose kinds count most.
        results: the folder of the ledger.

    """
    wanted: dict[Hashable, list[str]] = defaultdict(list)
    for unit in plan.units.values():
        alike = kind(unit.settings), unit.resources
        wanted[alike] += [trial.key for trial in unit.trials]
    names = table_folder(results, "trials").listing()
    keys = [key for of_one in wanted.values() for key in _last(of_one, names, SAMPLE)]
    own = {part_name(key) for of_one in wanted.values() for key in of_one}
    keys += [name.removesuffix(part_name("")) for name in names if name not in own][:OTHERS]
    ended = read_table(results, "trials", keys=keys, columns=_COLUMNS)
    ended = ended[(ended["status"] == "ok") & (ended["seconds_training"] > 0)]
    if ended.empty:
        return Measured()
    ended = ended.sort_values("started_at")
    devices = ended["device"].fillna("an unnamed device").map(_without_threads)
    device = str(devices.iloc[-1])
    ended = ended[devices == device]
    found = Measured(len(ended), device, bool(ended["gpus"].fillna(0).gt(0).any()))
    for row in ended.to_dict("records"):
        settings = json.loads(row["settings"])
        this = kind(settings)
        share = (_number(row["cpus"], 1.0), _number(row["gpus"], 0.0))
        per_epoch = row["seconds_training"] / row["epochs"]
        found.epoch.add(_names(this, share, row["train_fingerprint"]), per_epoch)
        found.a_pass.add(["any"], per_epoch / _learning(settings))
        scoring = _number(row["seconds_scoring"], 0.0)
        found.scoring.add([this, settings["paradigm"], "any"], scoring)
    _add_refinement(plan, results, found)
    return found


def _add_refinement(plan: Plan, results: Location, found: Measured) -> None:
    if not plan.runnable_chains:
        return
    names = table_folder(results, "refined").listing()
    keys = [
        key
        for place in range(len(plan.runnable_chains))
        for key in _last([trial.chain_keys[place] for trial in plan.trials], names, SAMPLE)
    ]
    columns = ("refinement", "status", "seconds")
    ended = read_table(results, "refined", keys=keys, columns=columns)
    for row in ended[ended["status"] == "ok"].dropna().to_dict("records"):
        found.refining.add([row["refinement"]], row["seconds"])


def _without_threads(device: str) -> str:
    """A device's name; a CPU's number of threads is its trial's share, not another device.

    >>> _without_threads("x86_64 CPU, 2 thread(s)")
    'x86_64 CPU'
    """
    return re.sub(r", \d+ thread\(s\)$", "", device)


def _last(keys: list[str], names: Iterable[str], count: int) -> list[str]:
    there = [key for key in keys if part_name(key) in names]
    return there[-count:]


def _names(kind: str, share: tuple[float, float], fingerprint: Any) -> list[Hashable]:
    """The same kind with the same share of the machine and images, with the share, and at all."""
    return [(kind, share, fingerprint), (kind, share), kind]


def _number(value: Any, otherwise: float) -> float:
    return otherwise if pd.isna(value) else float(value)
