"""A network of single-stage training with its decoder: what it sees, the labels it makes."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones import Layer, Network, Output
from wsss_core.backbones.attending import listening, with_attention
from wsss_core.data import IGNORED
from wsss_core.segmentation import TokenSegmenter
from wsss_core.segmentation.heads import FusedLayers
from wsss_core.single_stage.affinity import (
    AttentionAffinity,
    affinity_labels,
    affinity_loss,
    decoder_affinity,
)
from wsss_core.single_stage.class_maps import (
    AuxiliaryClassifier,
    MapsOnTheFly,
    maps_on_the_fly,
)
from wsss_core.single_stage.class_tokens import (
    ClassTokens,
    certain_evidence,
    token_identity,
    token_patch_cosines,
    uncertain_evidence,
)
from wsss_core.single_stage.crops import CropContrast, LocalCrops, draw_crops
from wsss_core.single_stage.label_maker import LabelMaker
from wsss_core.single_stage.losses import balanced_segmentation_loss, cut_maps, token_contrast
from wsss_core.single_stage.noise_filter import without_doubted
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.text_maps import text_class_maps
from wsss_core.single_stage.text_network import TextNetwork, normed_tokens
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
        class_token: float [B, C], after the last norm; None unless crops are contrasted with it.
        of_classes: float [B, K, C], the classes' tokens after the last norm; None without them.

    """

    output: Output
    decoder_maps: tuple[Tensor, ...]
    heard: list[Any]
    auxiliary: Tensor | None
    aligned: Output
    class_token: Tensor | None
    of_classes: Tensor | None

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the final map's cells."""
        features = self.output.features
        return int(features.shape[-2]), int(features.shape[-1])


class MadeLabels(NamedTuple):
    """The labels that a network made of a batch.

    Attributes:
        refined: int64 [B, H, W], of refined CAMs.
        for_decoder: the same, or of propagated CAMs where the recipe says so.
        of_tokens: int64 [B, h, w], of the auxiliary CAMs; None unless tokens are labelled.
        evidence: int64 [B, h, w], for the classes' tokens; None without them.
        crops: drawn by the auxiliary CAMs; None unless crops are contrasted.

    """

    refined: Tensor
    for_decoder: Tensor
    of_tokens: Tensor | None = None
    evidence: Tensor | None = None
    crops: LocalCrops | None = None


class Branch(nn.Module):
    """A network with its decoder, and what a recipe puts on it.

    Args:
        network: the classifier, whose CAMs labels are made of.
        decoder: the segmenter over the classifier's encoder; None: this network trains none.
        settings: the recipe.
        affinity: the affinity over its attention, if it learns one.
        auxiliary: the classifier on an inner layer, if it has one.
        class_tokens: a token for each class within its encoder, if it has them.
        crops: the contrast of its class token with local crops, if it has one.

    """

    def __init__(
        self,
        network: Network,
        decoder: TokenSegmenter | None,
        settings: SingleStageSettings,
        affinity: AttentionAffinity | None = None,
        auxiliary: AuxiliaryClassifier | None = None,
        class_tokens: ClassTokens | None = None,
        crops: CropContrast | None = None,
    ) -> None:
        super().__init__()
        self.network, self.affinity, self.auxiliary = network, affinity, auxiliary
        self.class_tokens, self.crops = class_tokens, crops
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
        own = {
            "decoder": self.head,
            "affinity": self.affinity,
            "auxiliary": self.auxiliary,
            "class_tokens": self.class_tokens,
            "crops": self.crops,
        }
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
        decodes = self.segmenter is not None and self.settings.decodes(weights)
        taps = self.segmenter.taps if decodes and self.segmenter is not None else ()
        auxiliary = () if self.auxiliary is None else (self.auxiliary.layer,)
        attends = self.affinity is not None and "affinity" in weights
        padding = {} if valid is None else {"valid": valid}
        call = partial(self.network, images, (*taps, *auxiliary, *aligned_at), **padding)
        encoder = self.network.encoder
        with ExitStack() as stack:
            of_classes: list[Tensor] = []
            if self.class_tokens is not None and self.settings.has_class_tokens:
                of_classes = stack.enter_context(self.class_tokens.within(encoder))
            normed: list[Tensor] = []
            if self.crops is not None and "crop_contrast" in weights:
                normed = stack.enter_context(normed_tokens(encoder))
            heard = stack.enter_context(listening(encoder)) if attends else []
            output: Output = with_attention(self.network, call) if hears else call()
        inner = output.taps[len(taps)] if auxiliary else None
        aligned = output._replace(taps=output.taps[len(output.taps) - len(aligned_at) :])
        return Seen(
            output,
            output.taps[: len(taps)],
            list(heard),
            inner,
            aligned,
            normed[-1][:, 0] if normed else None,
            of_classes[-1] if of_classes else None,
        )

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
        seen: Seen,
    ) -> MadeLabels:
        """Return the labels of a batch.

        Args:
            images: float [B, 3, H, W] in 0..1.
            present: bool [B, K], the classes that each image holds.
            valid: float [B, 1, H, W], 0 on padding.
            weights: the losses in force.
            done: the share of all steps that is done.
            seen: what the network says of them.

        """
        settings = self.settings
        propagated = settings.labels_from(done) == "propagated" and "segmentation" in weights
        labels_tokens = self.auxiliary is not None and settings.labels_tokens(weights)
        found = self._maps(
            images, present, valid, seen, done, propagated=propagated, inner=labels_tokens
        )
        given = (images, found, present, valid)
        refined = for_decoder = self.make_labels(*given, "cam", done)
        # The partner's affinity may be none: a CNN beside a ViT.
        if propagated and found.affinity is not None:
            for_decoder = self.make_labels(*given, "propagated", done)
        made = MadeLabels(refined, for_decoder)
        if found.auxiliary is None:
            return made

        def cut(maps: Tensor, high: float, low: float) -> Tensor:
            whole = cut_maps(maps, present, high, low)
            return whole if valid is None else whole.masked_fill(valid[:, 0] == 0, IGNORED)

        auxiliary = found.auxiliary
        of_tokens = cut(auxiliary, settings.high, settings.low)
        made = made._replace(of_tokens=nearest_cells(of_tokens, seen.grid))
        if seen.of_classes is not None:
            late = settings.late(done)
            cuts = settings.late_evidence if late else settings.early_evidence
            whole = cut(found.maps if late else auxiliary, *cuts)
            made = made._replace(evidence=nearest_cells(whole, seen.grid))
        if seen.class_token is not None:
            best = (auxiliary * present[:, :, None, None]).amax(1)
            made = made._replace(crops=draw_crops(best, of_tokens, settings, valid))
        return made

    def _maps(
        self,
        images: Tensor,
        present: Tensor,
        valid: Tensor | None,
        seen: Seen,
        done: float,
        *,
        propagated: bool,
        inner: bool,
    ) -> MapsOnTheFly:
        """Return the CAMs of a batch, of text or of the network's own head."""
        settings = self.settings
        if isinstance(self.network, TextNetwork):
            chooses = None
            if settings.chooses_attention(done):
                chooses = decoder_affinity(self._fused(seen)).detach()
            return text_class_maps(
                self.network, images, present, settings, valid=valid, decoder_affinity=chooses
            )
        return maps_on_the_fly(
            self.network,
            images,
            settings.cam_scales,
            flip=settings.cam_flip,
            affinity=self.affinity if propagated else None,
            auxiliary=self.auxiliary if inner else None,
        )

    def _fused(self, seen: Seen) -> Tensor:
        """Return the decoder's fused maps, float [B, C, h, w]."""
        assert isinstance(self.head, FusedLayers)
        return self.head.fused([*seen.decoder_maps, seen.output.features])

    def losses(
        self,
        seen: Seen,
        own: MadeLabels,
        target: Tensor,
        images: Tensor,
        weights: Mapping[str, float],
        done: float,
        present: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """Return the sum of the losses on pixels and cells, each by its weight.

        Args:
            seen: what the network says.
            own: the labels that it made.
            target: what its decoder learns, int64 [B, H, W].
            images: float [B, 3, H, W] in 0..1.
            weights: the losses in force.
            done: the share of all steps that is done.
            present: bool [B, K], the classes that each image holds.
            valid: float [B, 1, H, W], 0 on padding.

        """
        settings, total = self.settings, torch.zeros((), device=target.device)
        features, grid = seen.output.features, seen.grid
        between = self._affinity(seen) if "affinity" in weights else None
        if between is not None:
            pairs = affinity_labels(nearest_cells(own.refined, grid), settings.affinity_radius)
            total = total + weights["affinity"] * affinity_loss(between, pairs)
        if own.of_tokens is not None and "token_contrast" in weights:
            contrast = token_contrast(features, own.of_tokens)
            total = total + weights["token_contrast"] * contrast
        if self.crops is not None and own.crops is not None and seen.class_token is not None:
            contrast = self.crops(self.network, images, seen.class_token, own.crops)
            total = total + weights["crop_contrast"] * contrast
        if self.class_tokens is not None and seen.of_classes is not None:
            total = total + self._of_class_tokens(seen, own.evidence, weights, present, valid)
        if self.segmenter is not None and "segmentation" in weights:
            size = (int(images.shape[-2]), int(images.shape[-1]))
            logits = self.segmenter.decoded(features, seen.decoder_maps, size)
            if settings.filters(done):
                target = without_doubted(logits, target, settings.filter_pixels)
            total = total + weights["segmentation"] * balanced_segmentation_loss(logits, target)
        return total

    def _affinity(self, seen: Seen) -> Tensor | None:
        """Return the affinity of cells that is learned, float [B, N, N]; None: none is."""
        if self.settings.affinity_of == "decoder":
            return None if self.segmenter is None else decoder_affinity(self._fused(seen))
        if self.affinity is None:
            return None
        found: Tensor = self.affinity(seen.heard, seen.grid[0] * seen.grid[1])
        return found

    def _of_class_tokens(
        self,
        seen: Seen,
        evidence: Tensor | None,
        weights: Mapping[str, float],
        present: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """Return the sum of the losses of the classes' tokens, each by its weight."""
        assert self.class_tokens is not None
        assert seen.of_classes is not None
        features = seen.output.features
        tokens = self.class_tokens.graph(seen.of_classes, features.flatten(2).transpose(1, 2))
        total = torch.zeros((), device=features.device)
        if "class_tokens" in weights:
            total = total + weights["class_tokens"] * token_identity(tokens)
        if evidence is None:
            return total
        cosines, labels = token_patch_cosines(tokens, features), evidence.flatten(1)
        counted = torch.ones_like(labels, dtype=torch.bool)
        if valid is not None:
            counted = nearest_cells(valid[:, 0], seen.grid).flatten(1) > 0
        if "certain_evidence" in weights:
            certain = certain_evidence(cosines, labels, counted)
            total = total + weights["certain_evidence"] * certain
        if "uncertain_evidence" in weights:
            uncertain = uncertain_evidence(cosines, labels, present, counted)
            total = total + weights["uncertain_evidence"] * uncertain
        return total


def nearest_cells(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return labels int64 [B, H, W] at a grid: of each cell its upper left pixel, as in AFA."""
    return F.interpolate(labels[:, None].float(), grid, mode="nearest")[:, 0].long()
