"""Single-stage training as a paradigm: one or two classifiers, decoders on their encoders."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsss_core.backbones import Encoder, Layer, Network, PatchTokens
from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings, TokenSegmenter, segmenter_over
from wsss_core.single_stage.affinity import AttentionAffinity
from wsss_core.single_stage.branch import Branch, Seen
from wsss_core.single_stage.class_maps import AuxiliaryClassifier
from wsss_core.single_stage.class_tokens import ClassTokens
from wsss_core.single_stage.crops import CropContrast
from wsss_core.single_stage.losses import discrepancy
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.text_network import TextNetwork
from wsss_core.training import freeze
from wsss_core.transfer import Alignment, Losses, Paradigm, weight_at

PARTNER = {"student": "teacher", "teacher": "student"}


class SingleStage(Paradigm):
    """Networks that learn from image labels, and from labels of pixels that they make themselves.

    L = sum over networks of L_cls, as `classification` weighs it, and the recipe's losses, each
    with the weight that is in force at the step, + the losses between two networks. While no loss
    on pixels is in force, no label is made and no decoder runs.

    Args:
        branches: role -> its network, decoder and affinity; "student", and "teacher" of two.
        settings: the recipe.
        alignment: the transfer loss between two networks, as in co-training; None: none.
        transfer_weight: its lambda.
        lambda_warmup: share of all steps over which lambda rises from 0.

    Raises:
        InputError: a recipe for two networks with one.

    """

    def __init__(
        self,
        branches: Mapping[str, Branch],
        settings: SingleStageSettings,
        alignment: Alignment | None = None,
        transfer_weight: float = 1.0,
        lambda_warmup: float = 0.0,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.settings, self.alignment = settings, alignment
        self.transfer_weight, self.lambda_warmup = transfer_weight, lambda_warmup
        self.networks = {role: branch.network for role, branch in branches.items()}
        self.parts = {
            name if role == "student" else f"{role}_{name}": part
            for role, branch in branches.items()
            for name, part in branch.parts.items()
        }
        if settings.cams == "text" and len(branches) > 1:
            raise InputError("cams: text is of one network; expected no teacher")
        if len(branches) == 1:
            for name, asked in (
                ("losses: discrepancy", "discrepancy" in settings.losses),
                ("supervision: crossed", settings.supervision == "crossed"),
            ):
                if asked:
                    raise InputError(f"{name} is between two networks; expected a teacher too")

    @property
    def student(self) -> Network:
        """The network that is scored as the student."""
        return self.networks["student"]

    @property
    def segmenter(self) -> TokenSegmenter:
        """The student's decoder with its encoder."""
        found = self._branch("student").segmenter
        assert found is not None
        return found

    def _branch(self, role: str) -> Branch:
        branch = self.branches[role]
        assert isinstance(branch, Branch)
        return branch

    def _aligned(self, role: str) -> tuple[tuple[Layer, ...], bool]:
        """Return the inner layers that the alignment compares, and whether it hears attention."""
        one = self.alignment
        if one is None:
            return (), False
        if role == "student":
            return one.student_taps, one.hears[0]
        return one.teacher_taps, one.hears[1]

    def losses(
        self,
        images: Tensor,
        labels: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> Losses:
        """Return L_cls, the recipe's losses in force, and the losses between two networks."""
        weights = self.settings.weights(progress)
        shown = {
            role: images if valid is None else torch.where(valid > 0, images, network.mean)
            for role, network in self.networks.items()
        }
        seen: dict[str, Seen] = {}
        classification = torch.zeros((), device=images.device)
        for role in self.networks:
            branch = self._branch(role)
            seen[role] = branch.see(shown[role], weights, valid, *self._aligned(role))
            classification = classification + branch.classification(seen[role], labels, weights)
        total, transfer = self.settings.classification * classification, None
        if self.alignment is not None:
            size = (int(images.shape[-2]), int(images.shape[-1]))
            outputs = (seen[role].aligned for role in ("student", "teacher"))
            transfer = self.alignment(*outputs, size, valid, labels)
            weight = weight_at(self.transfer_weight, self.lambda_warmup, progress)
            total = total + weight * transfer
        if "discrepancy" in weights:
            features = [seen[role].output.features for role in self.networks]
            total = total + weights["discrepancy"] * discrepancy(features[0], features[1])
        if self.settings.makes_labels(weights) or "class_tokens" in weights:
            total = total + self._on_pixels(shown, labels > 0, valid, seen, weights, progress)
        return Losses(total, classification, transfer)

    def _on_pixels(
        self,
        images: Mapping[str, Tensor],
        present: Tensor,
        valid: Tensor | None,
        seen: Mapping[str, Seen],
        weights: Mapping[str, float],
        done: float,
    ) -> Tensor:
        made = {
            role: self._branch(role).labels(images[role], present, valid, weights, done, one)
            for role, one in seen.items()
        }
        total = torch.zeros((), device=present.device)
        crossed = self.settings.supervision == "crossed"
        for role, one in seen.items():
            target = made[PARTNER[role] if crossed else role].for_decoder
            total = total + self._branch(role).losses(
                one, made[role], target, images[role], weights, done, present, valid
            )
        return total

    def after_step(self) -> None:
        """Move the running averages of projectors."""
        for role in self.networks:
            crops = self._branch(role).crops
            if crops is not None:
                crops.after_step()


def prepare(network: Network, settings: SingleStageSettings) -> Network:
    """Give a network the classifier of a recipe, and freeze what the recipe does not train.

    Args:
        network: of this package, with a linear head; changed in place.
        settings: the recipe.

    Returns:
        The network; where CAMs are made of text a `TextNetwork` over its encoder, which still has
        to read the sentences.

    Raises:
        InputError: a network that is none of this package, or has another head or a neck.

    """
    plain = isinstance(network, Network) and isinstance(network.encoder, Encoder)
    if not plain or network.refinement is not None or network.class_maps is not None:
        raise InputError("single-stage: expected a timm model with head: linear")
    if network.neck is not None:
        raise InputError("single-stage: expected no neck; the decoder stands on the encoder's maps")
    if settings.cams == "text":
        return TextNetwork(network, len(settings.background_words))
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
    networks: Mapping[str, Network],
    settings: SingleStageSettings,
    segmenters: Mapping[str, SegmenterSettings],
    *,
    image_size: int,
    alignment: Alignment | None = None,
    transfer_weight: float = 1.0,
    lambda_warmup: float = 0.0,
) -> SingleStage:
    """Put a recipe's decoders and affinities on classifiers; seed torch before, they are random.

    Args:
        networks: role -> a classifier, see `prepare`; "student", and "teacher" of two.
        settings: the recipe.
        segmenters: role -> its decoder with its encoder, as a segmenter of its own is built.
        image_size: side of the images in pixels.
        alignment: the transfer loss between two networks; None: none.
        transfer_weight: its lambda.
        lambda_warmup: see `SingleStage`.

    Raises:
        InputError: a decoder that does not take an encoder, a student without attention where the
            recipe learns an affinity, or a recipe for two networks with one.

    """
    branches = {}
    for role, network in networks.items():
        decoder = None
        if role == "student" or settings.decoders == "both":
            decoder = segmenter_over(network, segmenters[role], network.classes)
            decoder.settings, decoder.image_size = segmenters[role], image_size
        # A CNN beside a ViT learns no affinity.
        attends = role == "student" or isinstance(network.encoder, PatchTokens)
        affinity = auxiliary = class_tokens = crops = None
        if settings.learns_affinity and attends:
            blocks = settings.affinity_blocks
            affinity = AttentionAffinity.over(network.encoder, blocks, image_size)
        if settings.has_auxiliary and attends:
            auxiliary = AuxiliaryClassifier(network, settings.auxiliary_layer)
        if settings.has_class_tokens and attends:
            class_tokens = ClassTokens(network.encoder, network.classes)
        if "crop_contrast" in settings.losses and attends:
            crops = CropContrast(network, settings, image_size)
        branches[role] = Branch(
            network, decoder, settings, affinity, auxiliary, class_tokens, crops
        )
    return SingleStage(branches, settings, alignment, transfer_weight, lambda_warmup)
