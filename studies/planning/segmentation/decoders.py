"""The decoders of single-stage configurations as segmentation runs, which train nothing.

Each stands beside the study's other segmenters, under the configuration's name, and is compared
with the maps of its own classifier at the tuned threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reports.names import PLAIN
from studies.planning.chains import CamScoring, Chain
from studies.planning.images import StudyImages
from studies.planning.job import TrainingJob, Trial
from studies.planning.segmentation.segment_plan import SegmentImages
from studies.planning.segmentation.segments import MapsOfLabels, SegmentJob, SegmentScoring
from studies.spec.segmentation.segment import Segment, without_defaults
from studies.spec.segmentation.single_stage import SINGLE_STAGE
from studies.spec.study import Study
from studies.store import stage_key
from wsss_core.errors import InputError, as_input_error, quoted
from wsss_core.segmentation.settings import PredictionSettings
from wsss_core.single_stage.class_names import for_classes, text_encoder_folder
from wsss_core.single_stage.recipes import recipe_as_config, recipe_of
from wsss_core.training.settings import TrainingSettings

_NAMES = {"stage": "feature_stage", "output_stride": "output_stride", "final_norm": "final_norm",
          "mean": "mean", "std": "std"}  # fmt: skip
"""A backbone's settings -> those of `SegmenterSettings.network`."""


def planned_recipe(
    given: str | Mapping[str, Any], classes: Sequence[str], weights: str
) -> dict[str, Any]:
    """Return a recipe's settings for a training run, JSON-able.

    Args:
        given: the recipe of a configuration.
        classes: the names of the classes.
        weights: of the student's backbone: a file, "pretrained" or "none".

    Raises:
        InputError: it names other classes, or makes CAMs of text and there is no text encoder.

    """
    name, settings = recipe_of(given)
    with as_input_error(f"recipe {name}", InputError):
        settings = for_classes(settings, classes)
        if settings.cams == "text":
            text_encoder_folder(weights)
    return recipe_as_config(settings)


def decoder_model(settings: Mapping[str, Any], role: str = "student") -> dict[str, Any]:
    """Return the fields of `SegmenterSettings` of a single-stage run's decoder, JSON-able.

    Args:
        settings: the training run's.
        role: whose decoder.

    """
    backbone, recipe = settings[role], settings["single_stage"]
    given = {ours: backbone.get(name) for name, ours in _NAMES.items()}
    return {
        "model": recipe["decoder"],
        "encoder": backbone["model"],
        "weights": backbone["weights"],
        "partial_weights": backbone["partial_weights"],
        "options": recipe["decoder_options"],
        "encoder_options": backbone["options"],
        "network": {name: value for name, value in given.items() if value is not None},
    }


def plan_decoders(
    study: Study,
    sets: SegmentImages,
    cam: CamScoring,
    owners: Mapping[tuple[str, int], tuple[TrainingJob, Trial]],
    sweep_value: float | None = None,
) -> list[SegmentJob]:
    """Return a segmentation run for each trial of a single-stage configuration.

    Args:
        study: the study.
        sets: its images.
        cam: how its plain CAMs are made.
        owners: configuration and seed -> the trial and its training run.
        sweep_value: the value of the study's sweep.

    Raises:
        InputError: a configuration has the name of an entry of `segment`.

    """
    before: Sequence[str] = () if study.segment is None else tuple(study.segment.entries)
    found = []
    for place, (name, configuration) in enumerate(study.named_configurations()):
        if configuration.paradigm != SINGLE_STAGE:
            continue
        if name in before:
            raise InputError(
                f"segment.entries.{name}: the decoder of the configuration {quoted(name)} has this "
                "name; expected another one"
            )
        images = sets.joined if configuration.join and sets.joined is not None else sets.own
        for seed in study.planned_seeds:
            job, trial = owners[name, seed]
            found.append(_decoder(study, images, cam, job, trial, len(before) + place, sweep_value))
    return found


def _decoder(
    study: Study,
    images: StudyImages,
    cam: CamScoring,
    job: TrainingJob,
    trial: Trial,
    position: int,
    sweep_value: float | None,
) -> SegmentJob:
    assert trial.spec.recipe is not None
    name, recipe = recipe_of(trial.spec.recipe)
    steps = TrainingSettings.from_config(**job.settings["training"]).steps(images.training_count)
    settings = {
        "model": decoder_model(job.settings),
        "training": {"steps": steps},
        "labels": {"masks": None, SINGLE_STAGE: name},
        "classes": job.classes,
        "image_size": job.image_size,
        **images.framing_settings,
        "seed": trial.seed,
    }
    prediction = without_defaults(
        PredictionSettings(
            tuple(float(scale) for scale in recipe.predict_scales),
            recipe.predict_flip,
            recipe.predict_crf,  # type: ignore[arg-type]
        ),
        PredictionSettings,
    )
    key = stage_key("segment", settings, parents=[job.key])
    section = study.segment
    overlap = Segment.model_fields["overlap"].default if section is None else section.overlap
    scored = {"segment": prediction, "overlap": overlap}
    scores_key = stage_key(
        "scores", scored, parents=[key], data=[images.splits.fingerprints["test"]]
    )
    return SegmentJob(
        key,
        settings,
        images.splits,
        job.weights["student"],
        MapsOfLabels(replace(job, trials=()), Chain(PLAIN, cam.cam, ()), trial.key, cam.scaling),
        scorings=(
            SegmentScoring(
                scores_key, trial.configuration, position, prediction, overlap, trial.configuration
            ),
        ),
        resources=study.resources.demand("single"),
        sweep_value=sweep_value,
    )
