"""One interface for CNNs and ViTs from timm: an encoder and a linear head.

The head is linear and the pooling a mean, so the class activation map (Zhou et al., "Learning Deep
Features for Discriminative Localization", CVPR 2016) is exact for both: logit = mean of the map +
bias. A ViT's feature map is its patch tokens after the last norm, put back on their grid.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones.building import (
    build_encoder,
    check_for_pcm,
    encoder_of,
    native_size,
    plugin_network,
    set_memory_format,
    timm_arguments,
)
from wsss_core.backbones.cells import cell_side, cell_weights, pooled
from wsss_core.backbones.conformer.trans_cam import TransCamMaps, check_for_trans_cam
from wsss_core.backbones.encoder import evaluating
from wsss_core.backbones.names import Layer, check_backbone_name, check_options, timm_config
from wsss_core.backbones.pcm import PixelCorrelation, View
from wsss_core.backbones.weights import LoadedWeights, load_weights
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin

logger = logging.getLogger(__name__)

HEADS = ("linear", "pcm", "transcam")


class Output(NamedTuple):
    """A network's answer for B images.

    Attributes:
        features: float [B, C, h, w].
        activation_maps: float [B, K, h, w], raw class scores at each location (no bias); of a
            linear head, their mean over h, w plus the head's bias is the logit.
        logits: float [B, K].
        taps: float [B, C', h', w'] of each inner layer that was asked for, in that order.
        consistency: a scalar loss of the head's own, which training adds to that of
            classification; None for a linear head and outside training.
        attention: of each block of a transformer, see `wsss_core.backbones.attending`; empty unless
            it was asked for.

    """

    features: Tensor
    activation_maps: Tensor
    logits: Tensor
    taps: tuple[Tensor, ...] = ()
    consistency: Tensor | None = None
    attention: tuple[Any, ...] = ()


class MapSource(Protocol):
    """Gives an encoder's maps, see `wsss_core.features.FeatureCache`."""

    def maps(self) -> Tensor:
        """Return those of the batch that is looked at, float32 [B, C, h, w]."""


class Network(nn.Module):
    """An encoder with a linear head over K classes and its own input normalisation.

    Args:
        encoder: an `Encoder`, or where no layer is tapped any module [B, 3, H, W] -> [B, C, h, w].
        channels: C of the encoder's map.
        classes: K, the outputs of the head.
        mean: subtracted from each RGB channel of images in 0..1.
        std: divides each RGB channel then.

    Attributes:
        initial_weights: what a weights file gave it; None without one.
        neck: what the encoder's map goes through before the head, see `wsss_core.features`; its
            map is the network's features. None: the encoder's map is.
        frozen: modules that stay in evaluation mode, see `wsss_core.training.freezing`.
        pooling: "mean" or "max" over locations, before the head.
        cache: gives the maps of the frozen encoder in its place; None: the encoder does.

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: Any,
        channels: int,
        classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = channels
        self.refinement: PixelCorrelation | None = None
        self.class_maps: TransCamMaps | None = None
        self.initial_weights: LoadedWeights | None = None
        self.neck: nn.Module | None = None
        self.frozen: tuple[nn.Module, ...] = ()
        self.cache: MapSource | None = None
        self.classes, self.pooling = classes, "mean"
        self.head = nn.Linear(channels, classes)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_timm(
        cls,
        model: nn.Module,
        *,
        classes: int | None = None,
        image_size: int | None = None,
        feature_stage: Layer | None = None,
    ) -> "Network":
        """Return a network over a copy of a timm model, with its weights.

        A linear classifier of as many classes and channels as the new head is kept. Behind another
        pooling (a class token, a norm after the mean) its logits are not those of the model; a
        warning says so.

        Args:
            model: from `timm.create_model`; it is left as it is.
            classes: K, the outputs of the head; None: as many as the model has.
            image_size: side of the images in pixels; None: the one that the model is made for.
            feature_stage: as in `build_network`.

        Returns:
            The network in float32, on the model's device and in its mode. Its mean and std are
            those of the model's configuration.

        Raises:
            InputError: it is no timm model, has no classifier where `classes` is None, takes no
                images of this size, or has no such stage.

        Example:
            >>> import timm
            >>> _ = torch.manual_seed(0)
            >>> model = timm.create_model("resnet18", num_classes=3, channels=(8, 8, 16, 32)).eval()
            >>> network = Network.from_timm(model)
            >>> images = torch.rand(2, 3, 64, 64)
            >>> logits = model((images - network.mean) / network.std)
            >>> torch.allclose(network(images).logits, logits, atol=1e-5)
            True

        """
        for name, value in (("classes", classes), ("image_size", image_size)):
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name}: expected 1 or more, or None, got {value!r}")
        encoder = encoder_of(model, image_size, feature_stage)
        count = classes or int(getattr(model, "num_classes", 0))
        if not count:
            raise InputError("classes: expected a number, as the model has no classifier")
        set_memory_format(encoder)
        said: Any = model.pretrained_cfg
        channels = encoder.channels_at(-1)
        network = cls(encoder, channels, count, tuple(said["mean"]), tuple(said["std"]))
        _keep_classifier(network, model, image_size or native_size(model))
        parameter = next(model.parameters())
        return network.to(parameter.device).train(model.training)

    def forward(
        self, images: Tensor, taps: Sequence[Layer] = (), valid: Tensor | None = None
    ) -> Output:
        """Return features, activation maps and logits of images float [B, 3, H, W], RGB in 0..1.

        Args:
            images: the images.
            taps: names inner layers whose maps are returned too; they change nothing else.
            valid: float [B, 1, H, W], 0 on padding, which then is the mean colour. Cells count in
                the logits by the share of their pixels that are not. None: there is no padding.

        With a `cache` nothing of the images is looked at, and no layer can be tapped.
        """
        if self.cache is not None:
            assert not taps  # refused when the study is planned
            return self.answer(self.cache.maps())
        normalised = (images - self.mean) / self.std
        if valid is not None:
            normalised = normalised * valid
        if self.class_maps is not None:
            both = self.class_maps(self.encoder, normalised, taps)
            mean = pooled(both.scores, self._cells(valid, both.features))
            logits = mean + self.head(both.class_token)
            return Output(both.features, both.weighted, logits, both.taps)
        asked: tuple[Layer, ...] = tuple(taps)
        if self.refinement is not None:
            asked += (-2,)
        found: tuple[Tensor, ...] = ()
        if asked:
            features, found = self.encoder.with_taps(normalised, asked)
        else:
            features = self.encoder(normalised)
        cells = self._cells(valid, features)
        answer = self.answer(features, cells)
        if self.refinement is None:
            return answer._replace(taps=found)
        maps, logits = answer.activation_maps, answer.logits
        view = View(normalised, found[-1], features, maps, logits, cells)
        small = self._at_half_size(normalised, valid) if self.training else None
        consistency = None if small is None else self.refinement.consistency(view, small)
        refined = self.refinement(maps, *view[:3], cells)
        return Output(features, refined, logits, found[:-1], consistency)

    def answer(self, features: Tensor, cells: Tensor | None = None) -> Output:
        """Return what neck and head make of the encoder's map.

        Args:
            features: float [B, C, h, w].
            cells: float [B, 1, h, w], the share of each cell that is no padding; None: all of it.

        """
        if self.neck is not None:
            features = self.neck(features)
        maps = torch.einsum("bchw,kc->bkhw", features, self.head.weight)
        logits = self.head(pooled(features, cells, self.pooling))
        return Output(features, maps, logits)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.training = False
        return self

    def _cells(self, valid: Tensor | None, features: Tensor) -> Tensor | None:
        """Return the share of each cell of the final map that is no padding, [B, 1, h, w]."""
        if valid is None:
            return None
        grid = (features.shape[-2], features.shape[-1])
        return cell_weights(valid, grid, cell_side(self.encoder))

    @torch.no_grad()
    def _at_half_size(self, normalised: Tensor, valid: Tensor | None) -> View:
        """Return the batch at half its size; BatchNorm's running statistics stay as they are."""
        small = F.interpolate(normalised, scale_factor=0.5, mode="bilinear", align_corners=False)
        norms = [
            m for m in self.encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            features, (low,) = self.encoder.with_taps(small, (-2,))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        if valid is not None:
            valid = F.interpolate(valid, small.shape[-2:], mode="area")
        cells = self._cells(valid, features)
        answer = self.answer(features, cells)
        return View(small, low, features, answer.activation_maps, answer.logits, cells)

    def channels_at(self, layer: Layer | None) -> int:
        """Return how many channels a layer's map has; None stands for the final features.

        Raises:
            InputError: there is no such layer; the error names those there are.

        """
        return self.channels if layer is None else self.encoder.channels_at(layer)


def _keep_classifier(network: Network, model: Any, size: int) -> None:
    """Copy a timm model's classifier into a network's head where the shapes let it."""
    linear, head, name = model.get_classifier(), network.head, type(model).__name__
    if not isinstance(linear, nn.Linear) or linear.weight.shape != head.weight.shape:
        logger.warning(
            "%s: the head of %d classes starts at random, because the model's classifier is no "
            "linear layer of %d channels and %d classes",
            *(name, network.classes, network.channels, network.classes),
        )
        return
    with torch.no_grad():
        head.weight.copy_(linear.weight)
        head.bias.copy_(torch.zeros_like(head.bias) if linear.bias is None else linear.bias)
    if not _agree(network, model, size):
        logger.warning(
            "%s: the classifier's weights are kept, but its logits are not the model's, because "
            "the network takes it of the mean over locations; train it, or give the model itself "
            "to wsss_core.cams.cams",
            name,
        )


@torch.no_grad()
def _agree(network: Network, model: nn.Module, size: int) -> bool:
    """Return whether a network on the CPU gives a model's logits of a random image."""
    like = next(model.parameters())
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    normalised = ((images - network.mean) / network.std).to(like)
    with evaluating(network), evaluating(model), torch.random.fork_rng(devices=[]):
        ours = network(images).logits
        try:
            theirs = model(normalised).float().cpu()
        except (AssertionError, RuntimeError):
            return False  # it takes its own size alone
    tolerance = float(torch.finfo(like.dtype).eps ** 0.5 * theirs.abs().max())
    return ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= tolerance


def build_network(
    name: str,
    *,
    classes: int,
    image_size: int,
    weights: str | Path = "none",
    partial_weights: bool = False,
    feature_stage: str | int | None = None,
    output_stride: int | None = None,
    final_norm: bool | None = None,
    head: str = "linear",
    options: Mapping[str, Any] | None = None,
    weights_digest: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    position_grid: Sequence[int] | None = None,
) -> Network:
    """Build a backbone with a fresh linear head; seed torch before, the head is drawn at random.

    Args:
        name: a timm model, CNN or ViT; or a plug-in "module:attribute", which is called with
            classes, image_size and the options and returns a `Network` or what behaves like one.
        classes: K, the outputs of the head.
        image_size: side of the square input in pixels, for which the model is built where timm
            lets it be; a ViT's patch must divide it.
        weights: "none" (random), "pretrained" (timm's hub) or a file (.safetensors, .pth).
        partial_weights: accept a file that lacks some of the encoder's parameters.
        feature_stage: the stage whose map is used, by name ("layer3") or by timm's index in the
            whole model; the last one by default. Not for plain ViTs.
        output_stride: pixels per location, by dilation (8, 16, 32), where timm's model takes it.
        final_norm: whether the last stage's map is taken after the model's final norm and head
            convolution, as by timm's `forward_features`; None: it is. Not for plain ViTs.
        head: "linear", or "pcm": activation maps refined by the pixel correlation module, see
            `wsss_core.backbones.pcm`, not for plain ViTs; or "transcam", of a Conformer alone, see
            `wsss_core.backbones.conformer.trans_cam`.
        options: further arguments of the timm model, such as `embed_dim`, `depth`, `channels`.
        weights_digest: of the weights file, see `read_weights`; None: it is not compared.
        mean: subtracted from each RGB channel of images in 0..1; None: as timm says of the name,
            tag included. `normalisation_of_file` tells what lies with a weights file.
        std: divides each channel then.
        position_grid: rows and columns of a weights file's position embedding; None: a square.

    Raises:
        InputError: unknown name, stage or option, a size or weights file that does not fit, or a
            model whose map cannot be told.

    Example:
        >>> small = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        >>> vit = build_network("vit_tiny_patch16_224", classes=3, image_size=32, options=small)
        >>> output = vit(torch.rand(2, 3, 32, 32))
        >>> [list(one.shape) for one in (output.features, output.activation_maps, output.logits)]
        [[2, 24, 4, 4], [2, 3, 4, 4], [2, 3]]

    """
    check_backbone_name(name)
    check_options(name, options or {})
    if head not in HEADS:
        raise InputError(f"head {head!r} is unknown; expected one of {', '.join(HEADS)}")
    if is_plugin(name):
        return plugin_network(name, classes, image_size, options or {}, head)
    arguments = timm_arguments(name, options or {}, weights, output_stride)
    encoder = build_encoder(name, image_size, feature_stage, final_norm, arguments)
    loaded = None
    if str(weights) not in ("none", "pretrained"):
        loaded = load_weights(
            encoder.model,
            weights,
            partial=partial_weights,
            digest=weights_digest,
            position_grid=position_grid,
            head=encoder.head_tensors,
        )
    set_memory_format(encoder)
    config = timm_config(name)
    mean, std = tuple(mean or config.mean), tuple(std or config.std)
    network = Network(encoder, encoder.channels_at(-1), classes, mean, std)
    network.initial_weights = loaded
    return _with_head(network, name, head, image_size)


def _with_head(network: Network, name: str, head: str, image_size: int) -> Network:
    encoder = network.encoder
    if head == "pcm":
        check_for_pcm(name, encoder, image_size)
        network.refinement = PixelCorrelation(encoder.channels_at(-2), network.channels)
    elif head == "transcam":
        check_for_trans_cam(name, encoder)
        network.class_maps = TransCamMaps(network.channels, network.classes)
        network.head = nn.Linear(encoder.model.embed_dim, network.classes)
    return network
