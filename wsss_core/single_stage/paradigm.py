"""Single-stage training as a paradigm: a classifier, a decoder on its encoder, and their losses."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Encoder, Network
from wsss_core.cams import listening
from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings, TokenSegmenter, segmenter_over
from wsss_core.single_stage.affinity import AttentionAffinity, affinity_labels, affinity_loss
from wsss_core.single_stage.class_maps import maps_on_the_fly
from wsss_core.single_stage.label_maker import LabelMaker
from wsss_core.single_stage.losses import balanced_segmentation_loss
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.training import freeze
from wsss_core.transfer import Losses, Paradigm, classification_loss


class SingleStage(Paradigm):
    """A network that learns from image labels, and from labels of pixels that it makes itself.

    L = L_cls + the recipe's losses, each with the weight that is in force at the step. While none
    is, no label is made and the decoder does not run.

    Args:
        student: the classifier, whose CAMs labels are made of.
        decoder: the segmenter over the student's own encoder.
        settings: the recipe.
        affinity: the affinity over the encoder's attention, if the recipe learns one.

    Attributes:
        segmenter: the decoder with the encoder.

    """

    def __init__(
        self,
        student: Network,
        decoder: TokenSegmenter,
        settings: SingleStageSettings,
        affinity: AttentionAffinity | None = None,
    ) -> None:
        super().__init__()
        self.student, self.head, self.affinity = student, decoder.head, affinity
        self.settings, self.networks = settings, {"student": student}
        self.parts = {"decoder": decoder.head}
        if affinity is not None:
            self.parts["affinity"] = affinity
        # Not as a submodule: its encoder is the student's.
        self._decoder = (decoder,)
        self._labels = LabelMaker(settings)

    @property
    def segmenter(self) -> TokenSegmenter:
        """The decoder with the student's encoder."""
        return self._decoder[0]

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls and the recipe's losses in force."""
        weights = self.settings.weights(progress)
        if valid is not None:
            images = torch.where(valid > 0, images, self.student.mean)
        taps: Sequence[Any] = self.segmenter.taps if "segmentation" in weights else ()
        attends = "affinity" in weights
        padding = {} if valid is None else {"valid": valid}
        with listening(self.student.encoder) if attends else nullcontext([]) as heard:
            output = self.student(images, taps, **padding)
        classification = classification_loss(output, labels)
        if not weights:
            return Losses(classification, classification, None)
        source = self.settings.labels_from(progress)
        propagates = source == "propagated" and "segmentation" in weights
        found = maps_on_the_fly(
            self.student,
            images,
            self.settings.cam_scales,
            flip=self.settings.cam_flip,
            affinity=self.affinity if propagates else None,
        )
        present = labels > 0
        refined = self._labels(images, found, present, valid)
        total = classification
        if attends:
            assert self.affinity is not None
            grid = (int(output.features.shape[-2]), int(output.features.shape[-1]))
            pairs = affinity_labels(nearest_cells(refined, grid), self.settings.affinity_radius)
            between = self.affinity(heard, grid[0] * grid[1])
            total = total + weights["affinity"] * affinity_loss(between, pairs)
        if "segmentation" in weights:
            if propagates:
                refined = self._labels(images, found, present, valid, source)
            size = (int(images.shape[-2]), int(images.shape[-1]))
            logits = self.segmenter.decoded(output.features, output.taps, size)
            total = total + weights["segmentation"] * balanced_segmentation_loss(logits, refined)
        return Losses(total, classification, None)


def nearest_cells(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return labels int64 [B, H, W] at a grid: of each cell its upper left pixel, as in AFA."""
    return F.interpolate(labels[:, None].float(), grid, mode="nearest")[:, 0].long()


def prepare(network: Network, settings: SingleStageSettings) -> Network:
    """Give a network the classifier of a recipe, and freeze what the recipe does not train.

    Args:
        network: of this package, with a linear head; changed in place.
        settings: the recipe.

    Raises:
        InputError: a network that is none of this package, or has another head or a neck.

    """
    plain = isinstance(network, Network) and isinstance(network.encoder, Encoder)
    if not plain or network.refinement is not None or network.class_maps is not None:
        raise InputError("single-stage: expected a timm model with head: linear")
    if network.neck is not None:
        raise InputError("single-stage: expected no neck; the decoder stands on the encoder's maps")
    network.pooling = settings.pooling
    if not settings.head_bias:
        nn.init.zeros_(network.head.bias)
        network.head.bias.requires_grad_(False)
    if settings.encoder == "frozen":
        freeze(network, "head")
    elif settings.norms == "frozen":
        for module in network.encoder.modules():
            if "norm" in type(module).__name__.lower():
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
    return network


def build_single_stage(
    student: Network,
    settings: SingleStageSettings,
    segmenter: SegmenterSettings,
    *,
    image_size: int,
) -> SingleStage:
    """Put a recipe's decoder and affinity on a classifier; seed torch before, both are random.

    Args:
        student: the classifier, see `prepare`.
        settings: the recipe.
        segmenter: the decoder with the student's encoder, as a segmenter of its own is built.
        image_size: side of the images in pixels.

    Raises:
        InputError: a decoder that does not take the encoder, or an encoder without attention where
            the recipe learns an affinity.

    """
    decoder = segmenter_over(student, segmenter, student.classes)
    decoder.settings, decoder.image_size = segmenter, image_size
    affinity = None
    if settings.learns_affinity:
        affinity = AttentionAffinity.over(student.encoder, settings.affinity_blocks, image_size)
    return SingleStage(student, decoder, settings, affinity)
