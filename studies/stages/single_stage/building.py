"""From a training run's settings to the networks and losses of single-stage training."""

from pathlib import Path

import torch

from studies.planning import TrainingJob, decoder_model
from studies.stages.network_files import restore_network
from wsss_core.backbones import Network
from wsss_core.segmentation import SegmenterSettings, TokenSegmenter, segmenter_over
from wsss_core.single_stage import SingleStage, SingleStageSettings, build_single_stage
from wsss_core.single_stage.recipes import recipe_from_config

DECODER = "decoder.safetensors"


def recipe_of_job(job: TrainingJob) -> SingleStageSettings | None:
    """Return the recipe of a training run; None if it is not single-stage."""
    given = job.settings.get("single_stage")
    return None if given is None else recipe_from_config(given)


def decoder_settings(job: TrainingJob) -> SegmenterSettings:
    """Return what builds a run's decoder with its encoder anew, whose numbers a file holds."""
    model = decoder_model(job.settings)
    return SegmenterSettings(**{**model, "weights": "none", "partial_weights": False})


def single_stage_paradigm(job: TrainingJob, student: Network) -> SingleStage:
    """Return the paradigm of a training run; its random parts follow from the seed alone.

    Args:
        job: the training run.
        student: its network before training.

    """
    recipe = recipe_of_job(job)
    assert recipe is not None
    torch.manual_seed(job.seed)
    return build_single_stage(student, recipe, decoder_settings(job), image_size=job.image_size)


def trained_with(job: TrainingJob, student: Network, folder: Path) -> TokenSegmenter:
    """Return the trained decoder with its encoder, as a segmenter whose file holds all of it.

    Args:
        job: the training run.
        student: its trained network; it is changed in place, for the encoder is taken.
        folder: of the run's artifact.

    """
    settings = decoder_settings(job)
    segmenter = segmenter_over(student, settings, len(job.classes))
    segmenter.settings, segmenter.image_size = settings, job.image_size
    segmenter.class_names = tuple(job.classes)
    restore_network(segmenter.head, folder / DECODER)
    segmenter.requires_grad_(True)  # frozen parameters would not be in the file
    return segmenter.eval()
