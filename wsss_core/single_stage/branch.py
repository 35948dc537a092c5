"""A network of single-stage training with its decoder: what it sees, the labels it makes."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Layer, Network, Output
from wsss_core.backbones.attending import listening, with_attention
from wsss_core.segmentation import TokenSegmenter
from wsss_core.single_stage.affinity import AttentionAffinity, affinity_labels, affinity_loss
from wsss_core.single_stage.auxiliary import AuxiliaryClassifier
from wsss_core.single_stage.class_maps import maps_on_the_fly
from wsss_core.single_stage.label_maker import LabelMaker
from wsss_core.single_stage.losses import balanced_segmentation_loss, cut_maps, token_contrast
from wsss_core.single_stage.noise_filter import without_doubted
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.transfer import classification_loss


class Seen(NamedTuple):
    """What a network says of a batch.

    Attributes:
        output: its answer.
        decoder_maps: the inner maps that its decoder gets.
        heard: the attention of its blocks; empty if it was not asked for.
        auxiliary: the map that the auxiliary classifier gets; None without one.
        aligned: its answer as an alignment takes it, with the inner maps and the attention that the
            alignment asks for.

    """

    output: Output
    decoder_maps: tuple[Tensor, ...]
    heard: list[Any]
    auxiliary: Tensor | None
    aligned: Output


class MadeLabels(NamedTuple):
    """The labels that a network made of a batch.

    Attributes:
        refined: int64 [B, H, W], of refined CAMs.
        for_decoder: the same, or of propagated CAMs where the recipe says so.
        of_tokens: int64 [B, h, w], of the auxiliary CAMs; None unless tokens are contrasted.

    """

    refined: Tensor
    for_decoder: Tensor
    of_tokens: Tensor | None


class Branch(nn.Module):
    """A network with its decoder, and what a recipe puts on it.

    Args:
        network: the classifier, whose CAMs labels are made of.
        decoder: the segmenter over the classifier's encoder; None: this network trains none.
        settings: the recipe.
        affinity: the affinity over its attention, if it learns one.
        auxiliary: the classifier on an inner layer, if it has one.

    """

    def __init__(
        self,
        network: Network,
        decoder: TokenSegmenter | None,
        settings: SingleStageSettings,
        affinity: AttentionAffinity | None = None,
        auxiliary: AuxiliaryClassifier | None = None,
    ) -> None:
        super().__init__()
        self.network, self.affinity, self.auxiliary = network, affinity, auxiliary
        self.settings = settings
        self.head = None if decoder is None else decoder.head
        # Not as a submodule: its encoder is the network's.
        self._decoder = (decoder,)
        self.make_labels = LabelMaker(settings)

    @property
    def segmenter(self) -> TokenSegmenter | None:
        """The decoder with the network's encoder."""
        return self._decoder[0]

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What is kept beside the network, by name."""
        own = {"decoder": self.head, "affinity": self.affinity, "auxiliary": self.auxiliary}
        return {name: part for name, part in own.items() if part is not None}

    def see(
        self,
        images: Tensor,
        weights: Mapping[str, float],
        valid: Tensor | None,
        aligned_at: tuple[Layer, ...] = (),
        hears: bool = False,
    ) -> Seen:
        """Return what the network says, as much as the losses in force ask for.

        Args:
            images: float [B, 3, H, W] in 0..1.
            weights: the losses in force.
            valid: float [B, 1, H, W], 0 on padding.
            aligned_at: inner layers that an alignment compares.
            hears: whether it compares attention.

        """
        decodes = self.segmenter is not None and "segmentation" in weights
        taps = self.segmenter.taps if decodes and self.segmenter is not None else ()
        auxiliary = () if self.auxiliary is None else (self.auxiliary.layer,)
        attends = self.affinity is not None and "affinity" in weights
        padding = {} if valid is None else {"valid": valid}
        call = partial(self.network, images, (*taps, *auxiliary, *aligned_at), **padding)
        heard: AbstractContextManager[list[Any]] = nullcontext([])
        with listening(self.network.encoder) if attends else heard as attentions:
            output: Output = with_attention(self.network, call) if hears else call()
        inner = output.taps[len(taps)] if auxiliary else None
        aligned = output._replace(taps=output.taps[len(output.taps) - len(aligned_at) :])
        return Seen(output, output.taps[: len(taps)], list(attentions), inner, aligned)

    def classification(self, seen: Seen, labels: Tensor, weights: Mapping[str, float]) -> Tensor:
        """Return L_cls, and that of the auxiliary classifier by its weight."""
        loss = classification_loss(seen.output, labels)
        if self.auxiliary is not None and seen.auxiliary is not None and "auxiliary" in weights:
            logits = self.auxiliary.logits(seen.auxiliary)
            auxiliary = F.binary_cross_entropy_with_logits(logits.float(), labels)
            loss = loss + weights["auxiliary"] * auxiliary
        return loss

    def labels(
        self,
        images: Tensor,
        present: Tensor,
        valid: Tensor | None,
        weights: Mapping[str, float],
        done: float,
        grid: tuple[int, int],
    ) -> MadeLabels:
        """Return the labels of a batch.

        Args:
            images: float [B, 3, H, W] in 0..1.
            present: bool [B, K], the classes that each image holds.
            valid: float [B, 1, H, W], 0 on padding.
            weights: the losses in force.
            done: the share of all steps that is done.
            grid: (h, w) of the network's cells.

        """
        settings = self.settings
        propagated = settings.labels_from(done) == "propagated" and "segmentation" in weights
        contrasts = self.auxiliary is not None and "token_contrast" in weights
        found = maps_on_the_fly(
            self.network,
            images,
            settings.cam_scales,
            flip=settings.cam_flip,
            affinity=self.affinity if propagated else None,
            auxiliary=self.auxiliary if contrasts else None,
        )
        refined = for_decoder = self.make_labels(images, found, present, valid)
        if found.affinity is not None:
            for_decoder = self.make_labels(images, found, present, valid, "propagated")
        of_tokens = None
        if found.auxiliary is not None:
            whole = cut_maps(found.auxiliary, present, settings.high, settings.low)
            if valid is not None:
                whole = whole.masked_fill(valid[:, 0] == 0, 255)
            of_tokens = nearest_cells(whole, grid)
        return MadeLabels(refined, for_decoder, of_tokens)

    def losses(
        self,
        seen: Seen,
        own: MadeLabels,
        target: Tensor,
        size: tuple[int, int],
        weights: Mapping[str, float],
        done: float,
    ) -> Tensor:
        """Return the sum of the losses on pixels and cells, each by its weight.

        Args:
            seen: what the network says.
            own: the labels that it made.
            target: what its decoder learns, int64 [B, H, W].
            size: of the images.
            weights: the losses in force.
            done: the share of all steps that is done.

        """
        settings, total = self.settings, torch.zeros((), device=target.device)
        features = seen.output.features
        grid = (int(features.shape[-2]), int(features.shape[-1]))
        if self.affinity is not None and "affinity" in weights:
            pairs = affinity_labels(nearest_cells(own.refined, grid), settings.affinity_radius)
            between = self.affinity(seen.heard, grid[0] * grid[1])
            total = total + weights["affinity"] * affinity_loss(between, pairs)
        if own.of_tokens is not None:
            contrast = token_contrast(features, own.of_tokens)
            total = total + weights["token_contrast"] * contrast
        if self.segmenter is not None and "segmentation" in weights:
            logits = self.segmenter.decoded(features, seen.decoder_maps, size)
            if settings.filters(done):
                target = without_doubted(logits, target, settings.filter_pixels)
            total = total + weights["segmentation"] * balanced_segmentation_loss(logits, target)
        return total


def nearest_cells(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return labels int64 [B, H, W] at a grid: of each cell its upper left pixel, as in AFA."""
    return F.interpolate(labels[:, None].float(), grid, mode="nearest")[:, 0].long()
