"""The work that a study asks for: trials with their keys, and what each waits for.

A trial is a configuration under a seed. A unit is one training run with the trials that score it;
a unit whose student has a teacher waits for the teacher's unit, which is made once per seed and
is, where the study has the teacher as a configuration of its own, that configuration's unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from studies.planning.chains import Chain
from studies.planning.images import StudyImages
from studies.spec.configuration import Configuration, TrainingChange
from studies.spec.refinement import PublishedSeeds
from studies.spec.resources import Demand
from studies.spec.study import Study
from studies.store.artifacts import ArtifactStore
from studies.store.keys import canonical
from wsss_core.backbones.names import is_vit


@dataclass(frozen=True)
class Trial:
    """A configuration under a seed: one training run, scored.

    Attributes:
        key: of the scores; names the trial in the ledger.
        configuration: the row's name in this study.
        position: the row's place in this study.
        seed: the seed it is paired by.
        row: the configuration itself.
        dial_value: the value of the study's sweep, if it has one.
        chain_keys: of its scores under each chain that can run, in the order of `Plan.chains`.

    """

    key: str
    configuration: str
    position: int
    seed: int
    row: Configuration
    dial_value: float | None = None
    chain_keys: tuple[str, ...] = ()


@dataclass
class Unit:
    """One training run and the trials that score it.

    Attributes:
        key: of the trained networks.
        settings: all that decides the result, as JSON-able values.
        weights: role -> the weights file to start from ("none" or "pretrained" included).
        images: what it is trained on and scored with.
        parent: the key of the teacher's unit, if there is one.
        trials: may be empty: a teacher that the study does not report.
        resources: what it asks of the cluster, the largest of what its trials ask; no part of any
            key.

    """

    key: str
    settings: dict[str, Any]
    weights: dict[str, str]
    images: StudyImages
    parent: str | None = None
    trials: list[Trial] = field(default_factory=list)
    resources: Demand = field(default_factory=Demand)

    @property
    def name(self) -> str:
        """What progress lines call it."""
        if self.trials:
            trial = self.trials[0]
            at = "" if trial.dial_value is None else f", dial {trial.dial_value:g}"
            return trial.configuration + at
        return f"teacher {self.settings['student']['model']}"

    @property
    def seed(self) -> int:
        """The seed of initialisation and of the order of the images."""
        return int(self.settings["seed"])

    @property
    def artifacts(self) -> dict[str, list[str]]:
        """Stage -> keys of what its trials build upon, for `wsss store gc`."""
        splits = [self.images.key(split) for split in self.images.fingerprints]
        return {"train": [self.key, *([self.parent] if self.parent else [])], "images": splits}

    def as_config(self) -> dict[str, Any]:
        """Plain values, to be sent to a worker."""
        return {
            "key": self.key,
            "settings": self.settings,
            "weights": self.weights,
            "parent": self.parent,
            "resources": self.resources.as_config(),
            "images": {split: self.images.key(split) for split in self.images.fingerprints},
            "fingerprints": self.images.fingerprints,
            "trials": [
                {
                    "key": t.key,
                    "configuration": t.configuration,
                    "seed": t.seed,
                    "chain_keys": list(t.chain_keys),
                }
                for t in self.trials
            ],
        }


@dataclass
class Plan:
    """All units of a study, teachers before those they teach, and the images they need."""

    study: Study
    units: dict[str, Unit]
    cam_settings: dict[str, Any]
    chains: tuple[Chain, ...] = ()

    @property
    def runnable_chains(self) -> list[Chain]:
        """The chains that lack nothing."""
        return [chain for chain in self.chains if chain.lacks is None]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order of the study's rows and seeds."""
        trials = [trial for unit in self.units.values() for trial in unit.trials]
        seeds, dial = self.study.seeds, self.study.sweep

        def place(trial: Trial) -> tuple[int, int, int]:
            turned = 0 if dial is None else dial.values.index(trial.dial_value or 0.0)
            return turned, trial.position, seeds.index(trial.seed)

        return sorted(trials, key=place)

    @property
    def image_sets(self) -> list[StudyImages]:
        """The images of all units, each data set once."""
        found = {tuple(u.images.fingerprints.values()): u.images for u in self.units.values()}
        return list(found.values())

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that its trials import, with the versions they declare here."""
        found: dict[str, str] = {}
        for settings in (unit.settings for unit in self.units.values()):
            for role in ("student", "teacher"):
                if "version" in (backbone := settings.get(role, {})):
                    found[backbone["model"]] = backbone["version"]
            found |= settings.get("plugins", {})
        for chain in self.runnable_chains:
            found |= chain.plugins
        return found

    def pending(self, store: ArtifactStore) -> list[Unit]:
        """The units that still have to run.

        Trials without scores, the teachers they need, and trials whose network was found damaged
        and set aside: its scores are known, but masks are made with it.
        """
        has = store.seen()
        aside = store.corrupt("train")
        teachers: set[str] = set()
        units = []
        for unit in reversed(self.units.values()):
            trained = has("train", unit.key)
            scored = all(
                has("scores", key)
                for trial in unit.trials
                for key in (trial.key, *trial.chain_keys)
            )
            missed = unit.key in teachers or (unit.trials and unit.key in aside)
            if scored and (trained or not missed):
                continue
            units.append(unit)
            if unit.parent is not None and not trained:
                teachers.add(unit.parent)
        return units[::-1]

    def ledger_rows(self) -> list[dict[str, Any]]:
        """The plan as the report reads it: every cell that is to be expected."""
        study = self.study
        owner = {trial.key: unit for unit in self.units.values() for trial in unit.trials}
        alone = {
            (row.student, row.training): name
            for name, row in study.rows()
            if row.paradigm == "single"
        }
        rows = []
        for trial in self.trials:
            row = trial.row
            single = row.paradigm == "single"
            rows.append({
                "study": study.study,
                "study_title": study.title,
                "position": trial.position,
                "configuration": trial.configuration,
                "seed": trial.seed,
                "trial_key": trial.key,
                "paradigm": row.paradigm,
                "metric": row.metric,
                "level": row.transfer_level,
                "representation": row.representation,
                "weight": row.transfer_weight,
                "student": study.label(row.student),
                "teacher": study.label(row.teacher) if row.teacher else None,
                "baseline": None if single else alone.get((row.student, row.training))
                or alone.get((row.student, TrainingChange())),
                "reference": alone.get((row.teacher or "", TrainingChange())),
                "fixed_threshold": study.thresholds.fixed,
                "objective": study.thresholds.objective,
                "own_rules": canonical(study.thresholds.rules),
                "settings": canonical(
                    row.model_dump(mode="json", by_alias=True, exclude={"resources"})
                ),
                "family": "vit" if is_vit(study.backbones[row.student].model) else "cnn",
                "dial": study.sweep.name if study.sweep else None,
                "dial_value": trial.dial_value,
                "published": _share(row.published),
                "published_from": study.published_from if row.published is not None else None,
                "artifacts": canonical(owner[trial.key].artifacts),
                "search_trials": study.search.trials if study.search else None,
            })  # fmt: skip
        return rows

    def chain_rows(self) -> list[dict[str, Any]]:
        """The refinement chains of every trial as the report reads them, those not run included."""
        keys = {chain.name: place for place, chain in enumerate(self.runnable_chains)}
        chains = {chain.name: chain for chain in self.chains}
        alike = []
        for position, (name, entry) in enumerate(self.study.chains.items()):
            chain = chains.get(name)
            published = entry.published or PublishedSeeds()
            alike.append({
                "study": self.study.study,
                "refinement": name,
                "position": position,
                "lacks": chain.lacks if chain else None,
                "chain": canonical(chain.as_config()) if chain else None,
                "published_worse": _share(published.worse),
                "published_best": _share(published.best),
                "published_from": self.study.published_from if entry.published else None,
            })  # fmt: skip
        return [
            {
                **row,
                "trial_key": trial.key,
                "scores_key": None if place is None else trial.chain_keys[place],
            }
            for trial in self.trials
            for row, place in ((row, keys.get(str(row["refinement"]))) for row in alike)
        ]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100
