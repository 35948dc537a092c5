"""From a study to the work it asks for: trials with their keys, and what each waits for.

A trial is a configuration under a seed. A unit is one training run with the trials that score it;
a unit whose student has a teacher waits for the teacher's unit, which is made once per seed and
is, where the study has the teacher as a configuration of its own, that configuration's unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from pydantic import ValidationError

from studies.artifacts import ArtifactStore
from studies.chains import Chain, chain_scores_key, planned_chain
from studies.configuration import Row, TrainingChange
from studies.keys import canonical, stage_key
from studies.refinement_spec import PublishedSeeds
from studies.resources import Demand
from studies.sources import SCORED_SPLITS, StudyImages, study_images
from studies.spec import Study
from wsss_core.backbones.network import check_backbone_name, is_vit
from wsss_core.cams import CamSettings
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.evaluate.own_rule import load_own_rule
from wsss_core.plugins import is_plugin, plugin_version


@dataclass(frozen=True)
class Trial:
    """A configuration under a seed: one training run, scored.

    Attributes:
        key: of the scores; names the trial in the ledger.
        configuration: the row's name in this study.
        position: the row's place in this study.
        seed: the seed it is paired by.
        row: the configuration itself.
        dial_value: where the study's dial stands, if it has one.
        chain_keys: of its scores under each chain that can run, in the order of `Plan.chains`.

    """

    key: str
    configuration: str
    position: int
    seed: int
    row: Row
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
        seeds, dial = self.study.seeds, self.study.dial

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
        aside = store.damaged("train")
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
                "level": row.level,
                "representation": row.representation,
                "weight": row.weight,
                "student": study.label(row.student),
                "teacher": study.label(row.teacher) if row.teacher else None,
                "baseline": None if single else alone.get((row.student, row.training))
                or alone.get((row.student, TrainingChange())),
                "reference": alone.get((row.teacher or "", TrainingChange())),
                "fixed_threshold": study.thresholds.fixed,
                "objective": study.thresholds.objective,
                "own_rules": canonical(study.thresholds.rules),
                "settings": canonical(row.model_dump(mode="json", exclude={"resources"})),
                "family": "vit" if is_vit(study.backbones[row.student].model) else "cnn",
                "dial": study.dial.name if study.dial else None,
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
        for position, (name, entry) in enumerate(self.study.refine.items()):
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


def make_plan(study: Study, images: StudyImages | None = None) -> Plan:
    """Work out every unit and trial of a study.

    Args:
        study: which.
        images: see `Planner`; of a study without a dial.

    Raises:
        InputError: data or a weights file that is not there, a model that timm lacks, a plug-in
            that cannot be imported or declares no version.

    """
    for name, backbone in study.backbones.items():
        try:
            check_backbone_name(backbone.model)
        except InputError as error:
            raise InputError(f"backbones.{name}.model: {error}") from error
    for name in study.thresholds.rules:
        load_own_rule(name)
    units: dict[str, Unit] = {}
    cam_settings: dict[str, Any] = {}
    chains: tuple[Chain, ...] = ()
    dial = study.dial
    for value in dial.values if dial else [None]:
        turned = study if value is None else _turned(study, value)
        planner = Planner(turned, units, images)
        cam_settings, chains = planner.cam_settings, planner.chains
        for position, (name, row) in enumerate(turned.rows()):
            for seed in turned.seeds:
                planner.trial(name, position, row, seed, value)
    return Plan(study, units, cam_settings, chains)


def _turned(study: Study, value: float) -> Study:
    assert study.dial is not None
    try:
        return study.at(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InputError(f"dial: {study.dial.key} = {value:g}: {said}") from error


class Planner:
    """Makes units and trials of a study, each training run once.

    Args:
        study: with its dial, if it has one, at a value.
        units: where they are collected, by key.
        images: the study's, if they have been opened; their fingerprints read every file.

    """

    def __init__(
        self, study: Study, units: dict[str, Unit], images: StudyImages | None = None
    ) -> None:
        self.study = study
        self.units = units
        self.images = images or study_images(study.data)
        classes = self.images.source.classes
        gating = study.cam.gating or ("predicted" if len(classes) > 1 else "none")
        self.cam_settings: dict[str, Any] = {
            "normalisation": study.cam.normalisation,
            "gating": gating,
            "panels": study.panels,
            "size": self.images.size,
        }
        cam = CamSettings(**study.cam.model_dump(exclude={"normalisation", "gating"}))
        if cam != CamSettings():
            self.cam_settings["cam"] = cam.as_config()
        self.chains = tuple(planned_chain(chain, cam) for chain in study.chains())
        self.backbones = {
            name: self._identity(name) for name in study.backbones
        }  # name -> (settings, weights file)

    def trial(
        self, name: str, position: int, row: Row, seed: int, dial_value: float | None = None
    ) -> Trial:
        """A configuration under a seed, added to the unit that trains it."""
        unit = self.unit(row, seed)
        data = [self.images.fingerprints[split] for split in SCORED_SPLITS]
        key = stage_key("scores", self.cam_settings, parents=[unit.key], data=data)
        trained = {
            "key": unit.key,
            "settings": unit.settings,
            "fingerprints": unit.images.fingerprints,
        }
        chain_keys = tuple(
            chain_scores_key(trained, chain, self.cam_settings, SCORED_SPLITS)
            for chain in self.chains
            if chain.lacks is None
        )
        trial = Trial(key, name, position, seed, row, dial_value, chain_keys)
        asked = self.study.resources.demand(row.paradigm, row.resources)
        # What a row asks for stands before what was taken for a teacher that no row reports.
        unit.resources = unit.resources.larger(asked) if unit.trials else asked
        unit.trials.append(trial)
        return trial

    def _identity(self, name: str) -> tuple[dict[str, Any], str]:
        """What decides the network a backbone stands for: weights by content, not by path."""
        backbone = self.study.backbones[name]
        settings = backbone.model_dump(mode="json", exclude={"label", "training", "weights"})
        if is_plugin(backbone.model):
            settings["version"] = plugin_version(f"backbones.{name}.model", backbone.model)
        weights = backbone.weights
        if weights == "pretrained":
            config = timm.get_pretrained_cfg(backbone.model)
            assert config is not None  # the name was checked
            tag = f"pretrained {config.architecture}.{config.tag}"
        elif weights == "none":
            tag = "none"
        else:
            file = Path(weights).expanduser().absolute()
            if not file.is_file():
                raise InputError(
                    f"backbones.{name}.weights: file {file} does not exist; "
                    "expected a weights file, 'pretrained' or 'none'"
                )
            weights, tag = str(file), file_hashes([file])[0]
        return {**settings, "weights": tag}, weights

    def unit(self, row: Row, seed: int) -> Unit:
        """The training run of a configuration under a seed, its teacher's before it."""
        study = self.study
        student, student_weights = self.backbones[row.student]
        training = _changed(
            study.training.model_dump(mode="json"),
            study.backbones[row.student].training,
            row.training,
        )
        settings: dict[str, Any] = {
            "paradigm": row.paradigm,
            "student": student,
            "training": training,
            "seed": seed,
            "classes": list(self.images.source.classes),
            "image_size": self.images.size,
        }
        weights = {"student": student_weights}
        parent = None
        if row.teacher is not None:
            settings["teacher"], weights["teacher"] = self.backbones[row.teacher]
            settings["transfer"] = row.transfer()
            versions = {
                str(name): plugin_version(key, str(name))
                for key in ("metric", "representation", "projection")
                if is_plugin(name := getattr(row, key))
            }
            if versions:
                settings["plugins"] = versions
        if row.paradigm == "teacher-student" and row.teacher is not None:
            alone = Row(paradigm="single", student=row.teacher)
            parent = self.unit(alone, seed).key
        key = stage_key(
            "train",
            settings,
            parents=[parent] if parent else [],
            data=[self.images.fingerprints["train"]],
        )
        if key not in self.units:
            asked = study.resources.demand(row.paradigm)
            self.units[key] = Unit(key, settings, weights, self.images, parent, [], asked)
        return self.units[key]


def _changed(settings: dict[str, Any], *changes: TrainingChange) -> dict[str, Any]:
    for change in changes:
        settings = {**settings, **change.model_dump(mode="json", exclude_none=True)}
    return settings
