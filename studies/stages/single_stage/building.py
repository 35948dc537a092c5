"""From a training run's settings to the networks and losses of single-stage training."""

from collections.abc import Mapping
from pathlib import Path

import torch

from studies.planning import TrainingJob, decoder_model
from studies.stages.network_files import restore_network
from wsss_core.backbones import Network
from wsss_core.segmentation import SegmenterSettings, TokenSegmenter, segmenter_over
from wsss_core.single_stage import (
    SingleStage,
    SingleStageSettings,
    TextNetwork,
    build_single_stage,
    prepare,
    rival_sentences,
    text_encoder_folder,
)
from wsss_core.single_stage.recipes import recipe_from_config
from wsss_core.transfer import Alignment

DECODER = "decoder.safetensors"


def recipe_of_job(job: TrainingJob) -> SingleStageSettings | None:
    """Return the recipe of a training run; None if it is not single-stage."""
    given = job.settings.get("single_stage")
    return None if given is None else recipe_from_config(given)


def first_seed(job: TrainingJob, role: str) -> int:
    """Return the seed of a network's random parts: the run's.

    The second of two networks of one backbone that learn in one stage has another one. Two students
    that begin alike would have no gradient to move apart by.
    """
    settings = job.settings
    twins = "single_stage" in settings and settings.get("teacher") == settings["student"]
    return job.seed + _SECOND if twins and role == "teacher" else job.seed


_SECOND = 1_000_003
"""What is added to a run's seed for the second of two students of one backbone."""


def prepared(
    job: TrainingJob, network: Network, recipe: SingleStageSettings, weights: str
) -> Network:
    """Return a network as its recipe wants it, see `wsss_core.single_stage.prepare`.

    Args:
        job: the training run.
        network: changed in place.
        recipe: the run's.
        weights: what the network began with. "none" reads no sentences: a file of the network
            holds their embeddings.

    """
    found = prepare(network, recipe)
    if isinstance(found, TextNetwork) and weights != "none":
        sentences = {name: recipe.prompts[name] for name in job.classes}
        found.read_texts(text_encoder_folder(weights), sentences, rival_sentences(recipe))
    return found


def decoder_settings(job: TrainingJob, role: str = "student") -> SegmenterSettings:
    """Return what builds a run's decoder with its encoder anew, whose numbers a file holds."""
    model = decoder_model(job.settings, role)
    return SegmenterSettings(**{**model, "weights": "none", "partial_weights": False})


def single_stage_paradigm(job: TrainingJob, networks: Mapping[str, Network]) -> SingleStage:
    """Return the paradigm of a training run; its random parts follow from the seed alone.

    Args:
        job: the training run.
        networks: role -> network before training.

    """
    recipe = recipe_of_job(job)
    assert recipe is not None
    transfer = dict(job.settings.get("transfer", {}))
    acts, alignment = {}, None
    if transfer:
        acts = {
            "transfer_weight": transfer.pop("weight"),
            "lambda_warmup": transfer.pop("warmup"),
        }
        torch.manual_seed(job.seed)
        alignment = Alignment(networks["student"], networks["teacher"], **transfer)
    torch.manual_seed(job.seed)
    return build_single_stage(
        networks,
        recipe,
        {role: decoder_settings(job, role) for role in networks},
        image_size=job.image_size,
        alignment=alignment,
        **acts,
    )


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
