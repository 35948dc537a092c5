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

from studies.artifacts import ArtifactStore
from studies.keys import canonical, stage_key
from studies.sources import SCORED_SPLITS, StudyImages, study_images
from studies.spec import Row, Study, TrainingChange
from wsss_core.backbones.network import check_backbone_name, is_vit
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError


@dataclass(frozen=True)
class Trial:
    """A configuration under a seed: one training run, scored.

    Attributes:
        key: of the scores; names the trial in the ledger.
        configuration: the row's name in this study.
        position: the row's place in this study.
        seed: the seed it is paired by.
        row: the configuration itself.

    """

    key: str
    configuration: str
    position: int
    seed: int
    row: Row


@dataclass
class Unit:
    """One training run and the trials that score it.

    Attributes:
        key: of the trained networks.
        settings: all that decides the result, as JSON-able values.
        weights: role -> the weights file to start from ("none" or "pretrained" included).
        parent: the key of the teacher's unit, if there is one.
        trials: may be empty: a teacher that the study does not report.

    """

    key: str
    settings: dict[str, Any]
    weights: dict[str, str]
    parent: str | None = None
    trials: list[Trial] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What progress lines call it."""
        if self.trials:
            return self.trials[0].configuration
        return f"teacher {self.settings['student']['model']}"

    @property
    def seed(self) -> int:
        """The seed of initialisation and of the order of the images."""
        return int(self.settings["seed"])

    def as_config(self) -> dict[str, Any]:
        """Plain values, to be sent to a worker."""
        return {
            "key": self.key,
            "settings": self.settings,
            "weights": self.weights,
            "parent": self.parent,
            "trials": [
                {"key": t.key, "configuration": t.configuration, "seed": t.seed}
                for t in self.trials
            ],
        }


@dataclass
class Plan:
    """All units of a study, teachers before those they teach, and the images they need."""

    study: Study
    images: StudyImages
    units: dict[str, Unit]
    cam_settings: dict[str, Any]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order of the study's rows and seeds."""
        trials = [trial for unit in self.units.values() for trial in unit.trials]
        return sorted(trials, key=lambda t: (t.position, self.study.seeds.index(t.seed)))

    def pending(self, store: ArtifactStore) -> list[Unit]:
        """The units that still have to run: trials without scores, and the teachers they need."""
        teachers: set[str] = set()
        units = []
        for unit in reversed(self.units.values()):
            trained = store.has("train", unit.key)
            scored = all(store.has("scores", trial.key) for trial in unit.trials)
            if scored and (trained or unit.key not in teachers):
                continue
            units.append(unit)
            if unit.parent is not None and not trained:
                teachers.add(unit.parent)
        return units[::-1]

    def ledger_rows(self) -> list[dict[str, Any]]:
        """The plan as the report reads it: every cell that is to be expected."""
        study = self.study
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
                "settings": canonical(row.model_dump(mode="json")),
                "family": "vit" if is_vit(study.backbones[row.student].model) else "cnn",
            })  # fmt: skip
        return rows


def make_plan(study: Study) -> Plan:
    """Work out every unit and trial of a study.

    Raises:
        InputError: data or a weights file that is not there, a model that timm lacks.

    """
    for name, backbone in study.backbones.items():
        try:
            check_backbone_name(backbone.model)
        except InputError as error:
            raise InputError(f"backbones.{name}.model: {error}") from error
    images = study_images(study.data)
    planner = _Planner(study, images)
    for position, (name, row) in enumerate(study.rows()):
        for seed in study.seeds:
            unit = planner.unit(row, seed)
            key = stage_key(
                "scores", planner.cam_settings, parents=[unit.key], data=planner.scored_data
            )
            unit.trials.append(Trial(key, name, position, seed, row))
    return Plan(study, images, planner.units, planner.cam_settings)


class _Planner:
    """Collects units, each made once."""

    def __init__(self, study: Study, images: StudyImages) -> None:
        self.study = study
        self.images = images
        self.units: dict[str, Unit] = {}
        self.cam_settings = {
            **study.cam.model_dump(),
            "panels": study.panels,
            "size": images.size,
        }
        self.scored_data = [images.fingerprints[split] for split in SCORED_SPLITS]
        self.backbones = {
            name: self._identity(name) for name in study.backbones
        }  # name -> (settings, weights file)

    def _identity(self, name: str) -> tuple[dict[str, Any], str]:
        """What decides the network a backbone stands for: weights by content, not by path."""
        backbone = self.study.backbones[name]
        settings = backbone.model_dump(mode="json", exclude={"label", "training", "weights"})
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
            study.training.model_dump(), study.backbones[row.student].training, row.training
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
            settings["transfer"] = {
                "metric": row.metric,
                "level": row.level,
                "variant": row.variant,
                "representation": row.representation,
                "projection": row.projection,
                "weight": row.weight,
            }
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
            self.units[key] = Unit(key, settings, weights, parent)
        return self.units[key]


def _changed(settings: dict[str, Any], *changes: TrainingChange) -> dict[str, Any]:
    for change in changes:
        settings = {**settings, **change.model_dump(exclude_none=True)}
    return settings
