"""Planning a study: the jobs that its configurations and seeds need, each once, with their keys."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from studies.planning.chains import CamScoring, chain_scores_key, laid_over, planned_chain
from studies.planning.features import cache_settings
from studies.planning.fused_jobs import fused_job, trial_seeds
from studies.planning.images import (
    SCORED_SPLITS,
    StudyImages,
    check_squashed,
    folded_images,
    study_images,
)
from studies.planning.job import TrainingJob, Trial, more_teacher_roles
from studies.planning.joining import JoinedImages, join_images
from studies.planning.maps_of_images import check_maps_of_images
from studies.planning.plan import Plan
from studies.planning.segmentation.decoders import plan_decoders, planned_recipe
from studies.planning.segmentation.decoupling import plan_decoupling
from studies.planning.segmentation.guides import guide_of
from studies.planning.segmentation.segment_plan import (
    ModelIdentity,
    SegmentImages,
    plan_segments,
)
from studies.planning.segmentation.segments import SegmentJob
from studies.spec.configuration import Configuration
from studies.spec.segmentation.single_stage import with_recipe_training
from studies.spec.settings import training_in_key
from studies.spec.study import Study
from studies.store import stage_key
from wsss_core.backbones import (
    check_backbone_name,
    encoder_version,
    normalisation_of_file,
    normalises_pooled,
    share_the_image,
    timm_config,
)
from wsss_core.cams.settings import CamSettings
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError, as_input_error, checked_path
from wsss_core.evaluate import load_own_rule
from wsss_core.fetched_weights import fetched
from wsss_core.plugins import is_plugin, plugin_version

TAPS_VERSION = 2
"""The version of taps of ViTs that pool the mean; the first were not normalised."""


def make_plan(study: Study, images: StudyImages | None = None) -> Plan:
    """Work out every job and trial of a study.

    Args:
        study: the study.
        images: see `Planner`; for a study without a sweep.

    Raises:
        InputError: data or a weights file is missing, timm lacks a model, a plug-in cannot be
            imported or declares no version, or the images cannot be dealt to folds.

    """
    for name, backbone in study.backbones.items():
        with as_input_error(f"backbones.{name}.model", InputError):
            check_backbone_name(backbone.model)
    for name in study.thresholds.rules:
        load_own_rule(name)
    jobs: dict[str, TrainingJob] = {}
    image_sets: list[StudyImages] = []
    segments: list[SegmentJob] = []
    sweep = study.sweep
    for value in sweep.values if sweep else [None]:
        turned = study if value is None else _turned(study, value)
        planner = Planner(turned, jobs, images)
        for of_fold in planner.of_folds():
            if all(of_fold.images.splits != known.splits for known in image_sets):
                image_sets.append(of_fold.images)
            if of_fold.joined is not None:
                image_sets.append(of_fold.joined)
            trials = [
                of_fold.trial(name, position, configuration, seed, value)
                for position, (name, configuration) in enumerate(turned.named_configurations())
                for seed in trial_seeds(configuration, turned.planned_seeds)
            ]
            segments += of_fold.segments(trials, value)
    return Plan(study, jobs, planner.cam, image_sets, planner.chains, tuple(segments))


def normalisation_settings(file: Path, model: str) -> dict[str, list[float]]:
    """Return the mean and std that lie with a weights file, unless they are those of timm's model.

    Args:
        file: the weights file.
        model: timm's name of the model.

    """
    found = normalisation_of_file(file, model)
    if found is None:
        return {}
    config = timm_config(model)
    if found == (tuple(config.mean), tuple(config.std)):
        return {}
    return {"mean": list(found.mean), "std": list(found.std)}


def _turned(study: Study, value: float) -> Study:
    assert study.sweep is not None
    try:
        return study.at(value)
    except ValueError as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        said = said.removeprefix("Value error, ")
        raise InputError(f"sweep: {study.sweep.key} = {value:g}: {said}") from error


class Planner:
    """Plans jobs and trials of a study, each training run once.

    Args:
        study: the study; if it has a sweep, at one value of it.
        jobs: collects the jobs by key.
        images: the study's images if they are open already; opening them reads every file.

    """

    def __init__(
        self, study: Study, jobs: dict[str, TrainingJob], images: StudyImages | None = None
    ) -> None:
        self.study = study
        self.jobs = jobs
        self.images = images or study_images(study.data)
        check_squashed("reasons", study.reasons, self.images.framing)
        self.joined: JoinedImages | None = None
        if study.join is not None:
            check_squashed("join", study.join, self.images.framing)
            self.images, self.joined = join_images(self.images, study.join)
        classes = self.images.source.classes
        gating = study.cam.gating or ("predicted" if len(classes) > 1 else "none")
        cam = CamSettings(**study.cam.model_dump(exclude={"normalisation", "gating"}))
        self.cam = CamScoring(
            study.cam.normalisation, gating, study.panels, self.images.splits.size, cam
        )
        self._scored_as = {**self.cam.as_settings(), **self.cam.other_gatings}
        self.chains = tuple(planned_chain(chain, cam) for chain in study.resolved_chains())
        check_maps_of_images(study, self.images, self.chains)
        self.backbones = {
            name: self._identity(name) for name in study.backbones
        }  # name -> (settings, weights file)
        self._segmenters: dict[str, ModelIdentity] = {}  # of all folds

    def of_folds(self) -> "list[Planner]":
        """Return a planner for each fold of the study; itself without folds.

        Raises:
            InputError: the images cannot be dealt to folds, or the study becomes too large.

        """
        folds = self.study.folds
        if folds is None:
            return [self]
        found = folded_images(self.images, folds)
        with as_input_error("folds", ValueError):
            self.study.check_size(len(found))
        planners = [copy.copy(self) for _ in found]
        for planner, images in zip(planners, found, strict=True):
            planner.images = images
        return planners

    def trial(
        self,
        name: str,
        position: int,
        configuration: Configuration,
        seed: int,
        sweep_value: float | None = None,
    ) -> Trial:
        """Return a configuration under a seed, added to the job that trains it."""
        job = self.job(configuration, seed)
        key = self.plain_scores_key(job)
        reasons = self.study.reasons
        trial = Trial(
            key=key,
            configuration=name,
            position=position,
            seed=seed,
            spec=configuration,
            sweep_value=sweep_value,
            chains={
                chain.name: chain_scores_key(job, chain, self.cam)
                for chain in self.chains
                if chain.lacks is None and chain.refines(name)
            },
            fold=job.images.fold,
            reasons=stage_key("scores", {"reasons": reasons.model_dump(mode="json")}, parents=[key])
            if reasons
            else None,
        )
        asked = self.study.resources.demand(configuration.paradigm, configuration.resources)
        if job.members:
            asked = job.resources
        # A configuration's own request replaces the one of a teacher that no configuration reports.
        resources = job.resources.larger(asked) if job.trials else asked
        self.jobs[job.key] = replace(job, trials=(*job.trials, trial), resources=resources)
        return trial

    def plain_scores_key(self, job: TrainingJob) -> str:
        """Return the key of the scores of a job's plain CAM."""
        networks = [one.settings[role] for one in job.sources for role in one.mapped_roles]
        return stage_key(
            "scores",
            {**self._scored_as, **laid_over(self.cam.cam, self.cam.size, *networks)},
            parents=[job.key],
            data=[job.images.fingerprints[split] for split in SCORED_SPLITS],
        )

    def segments(self, trials: list[Trial], sweep_value: float | None = None) -> list[SegmentJob]:
        """Return the segmentation runs of the study, on these images and at a sweep's value.

        Args:
            trials: all trials of the study there, whose maps may become pseudo masks.
            sweep_value: the value of the sweep.

        """
        owner = {trial.key: job for job in self.jobs.values() for trial in job.trials}
        owners = {(one.configuration, one.seed): (owner[one.key], one) for one in trials}
        sets = SegmentImages(self.images, self.joined)
        cam, chains, models = self.cam, self.chains, self._segmenters
        decoders = plan_decoders(self.study, sets, cam, owners, sweep_value)
        if self.study.segment is None:
            return decoders
        own = plan_segments(self.study, sets, cam, chains, owners, models, sweep_value)
        return [*own, *decoders]

    def _identity(self, name: str) -> tuple[dict[str, Any], str]:
        """Return a backbone's settings for keys, its weights by content, and its weights file."""
        backbone = self.study.backbones[name]
        settings = backbone.model_dump(mode="json", exclude={"label", "training", "weights"})
        for later in ("final_norm", "mean", "std", "position_grid", "train", "neck"):
            if settings[later] is None:
                del settings[later]  # keys from before these settings stay as they are
        if is_plugin(backbone.model):
            settings["version"] = plugin_version(f"backbones.{name}.model", backbone.model)
        elif (version := encoder_version(backbone.model)) > 1:
            settings["encoder"] = version
        weights = backbone.weights
        if weights == "pretrained":
            from wsss_core.backbones.pretrained import pretrained_name  # loads torch

            config = timm_config(backbone.model)
            assert config is not None  # the name was checked
            tag = f"pretrained {config.architecture}.{config.tag}"
            with as_input_error(f"backbones.{name}.weights", InputError):
                fetched(pretrained_name(backbone.model))
        elif weights == "none":
            tag = "none"
        else:
            file = checked_path(weights)
            if not file.is_file():
                raise InputError(
                    f"backbones.{name}.weights: file {file} does not exist; "
                    "expected a weights file, 'pretrained' or 'none'"
                )
            weights, tag = str(file), file_hashes([file])[0]
            if backbone.mean is None and not is_plugin(backbone.model):
                settings |= normalisation_settings(file, backbone.model)
        return {**settings, "weights": tag}, weights

    def _training(self, configuration: Configuration, images: int) -> dict[str, Any]:
        """Return how a configuration is trained on so many images, as its key holds it."""
        changes = self.study.backbones[configuration.student].training, configuration.training
        shared = self.study.training
        if configuration.recipe is not None:
            shared = with_recipe_training(shared, configuration.recipe, *changes)
        training = training_in_key(shared, *changes)
        if "iterations" in training:
            batches = math.ceil(images / training["batch_size"])
            training["epochs"] = math.ceil(training["iterations"] / batches)
        return training

    def job(self, configuration: Configuration, seed: int) -> TrainingJob:
        """Return the training run of a configuration under a seed; plan its teacher's before it."""
        if configuration.fuse is not None:
            fused = fused_job(self, configuration, seed)
            return self.jobs.setdefault(fused.key, fused)
        study = self.study
        images = self.joined if configuration.join and self.joined else self.images
        splits = images.splits
        student, student_weights = self.backbones[configuration.student]
        settings: dict[str, Any] = {
            "paradigm": configuration.paradigm,
            "student": student,
            "training": self._training(configuration, images.training_count),
            "seed": seed,
            "classes": list(self.images.source.classes),
            "image_size": splits.size,
            **self.images.framing_settings,
        }
        if configuration.recipe is not None:
            classes = self.images.source.classes
            settings["single_stage"] = planned_recipe(
                configuration.recipe, classes, student_weights
            )
        weights = {"student": student_weights}
        parents: list[str] = []
        if configuration.teacher is not None:
            settings["teacher"], weights["teacher"] = self.backbones[configuration.teacher]
            if configuration.metric is not None:
                settings["transfer"] = configuration.transfer()
            others = configuration.teacher_names[1:]
            for role, name in zip(more_teacher_roles(1 + len(others)), others, strict=True):
                settings[role], weights[role] = self.backbones[name]
            for role in ("student", "teacher"):
                name = getattr(configuration, role)
                if any(getattr(pair, role) is not None for pair in configuration.layers or ()) and (
                    normalises_pooled(study.backbones[name].model, study.backbones[name].options)
                ):
                    settings[role] = {**settings[role], "taps": TAPS_VERSION}
            versions = {
                str(name): plugin_version(key, str(name))
                for key in ("metric", "representation", "projection")
                if is_plugin(name := getattr(configuration, key))
            }
            if versions:
                settings["plugins"] = versions
            if configuration.metric is not None and _steadied(configuration, settings):
                settings["spatial_map"] = 2  # the cosine's gradient is steadied since then
            if configuration.metric is not None and _meet_elsewhere(settings):
                settings["grids"] = 2  # maps are compared over the pixels that they stand for
        if (decoupling := plan_decoupling(self, configuration, seed)) is not None:
            settings["decouple"] = decoupling.settings
        settings |= cache_settings(configuration, settings, study.caches)
        if configuration.paradigm == "teacher-student" and configuration.teacher is not None:
            for name in configuration.teacher_names:
                alone = Configuration(paradigm="single", student=name, join=configuration.join)
                parents.append(self.job(alone, seed).key)
        guide = guide_of(self, configuration, seed)
        if guide is not None and configuration.targets is not None:
            settings["targets"] = configuration.targets.as_settings(study.thresholds.fixed)
        built_upon = [*parents, *(decoupling.parents if decoupling else [])]
        built_upon += [guide.keys()[-1]] if guide else []
        data = [splits.fingerprints["train"]]
        key = stage_key("train", settings, parents=built_upon, data=data)
        if key not in self.jobs:
            self.jobs[key] = TrainingJob(
                key,
                settings,
                splits,
                weights,
                parents[0] if parents else None,
                (),
                study.resources.demand(configuration.paradigm),
                study.caches.teachers,
                other_parents=tuple(parents[1:]),
                maps=decoupling.maps if decoupling else None,
                guide=guide,
            )
        return self.jobs[key]


def _meet_elsewhere(settings: Mapping[str, Any]) -> bool:
    """Return whether the maps that a job compares may stand for other pixels of an image.

    They were once stretched over each other, as all others still are, so only their keys say so.
    """
    transfer, size = settings["transfer"], settings["image_size"]
    if transfer["representation"] in ("gram", "logits"):
        return False
    roles = ("teacher", *more_teacher_roles(len(transfer.get("teachers", ()))))
    networks = [settings[role] for role in ("student", *roles)]
    built = [{**one, **dict.fromkeys(_NOT_OF_GRIDS)} for one in networks]
    pairs = transfer.get("layers") or []
    alike = all(p.get("student") == p.get("teacher") for p in pairs)
    if alike and all(one == built[0] for one in built):
        return False
    return not all(share_the_image(str(one["model"]), [size], one) for one in networks)


_NOT_OF_GRIDS = ("weights", "partial_weights", "mean", "std", "position_grid", "head", "taps",
                 "train", "neck")  # fmt: skip
"""The settings of a backbone that its grids do not depend on."""


def _steadied(configuration: Configuration, settings: dict[str, Any]) -> bool:
    """Return whether a job's first gradients are those that `steadied` scales down."""
    how = (configuration.metric, configuration.representation, configuration.projection)
    moved = [settings["student"]]
    if configuration.paradigm == "co-training":
        moved.append(settings["teacher"])
    alone = how[0] == "cosine" and how[1] == "spatial_map" and how[2] in (None, "none")
    return alone and any(network["weights"] == "none" for network in moved)
