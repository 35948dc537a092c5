"""One interface for CNNs and ViTs from timm: an encoder and a linear head.

The head is linear and the pooling a mean, so the class activation map (Zhou et al., "Learning Deep
Features for Discriminative Localization", CVPR 2016) is exact for both: logit = mean of the map +
bias. A ViT's feature map is its patch tokens after the last norm, put back on their grid.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones.weights import load_weights
from wsss_core.errors import InputError


class Output(NamedTuple):
    """What a network says of B images.

    Attributes:
        features: float [B, C, h, w].
        activation_maps: float [B, K, h, w], raw class scores at each location (no bias); their
            mean over h, w plus the head's bias is the logit.
        logits: float [B, K].

    """

    features: Tensor
    activation_maps: Tensor
    logits: Tensor


class Network(nn.Module):
    """An encoder with a linear head over K classes and its own input normalisation.

    Args:
        encoder: float [B, 3, H, W] -> [B, C, h, w].
        channels: C.
        classes: K.
        mean: per RGB channel, of images in 0..1.
        std: per RGB channel, of images in 0..1.

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = channels
        self.classes = classes
        self.head = nn.Linear(channels, classes)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Output:
        """Images float [B, 3, H, W], RGB in 0..1, to features, activation maps and logits."""
        features = self.encoder((images - self.mean) / self.std)
        maps = torch.einsum("bchw,kc->bkhw", features, self.head.weight)
        return Output(features, maps, self.head(features.mean((-2, -1))))


class PatchTokens(nn.Module):
    """A timm ViT as an encoder: its patch tokens as a map, class and register tokens left out."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit: Any = vit

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, H, W] -> [B, C, H / patch, W / patch]."""
        tokens = self.vit.forward_features(images)[:, self.vit.num_prefix_tokens :]
        # Where timm pools the mean, the last norm comes after the pooling; elsewhere this is none.
        tokens = self.vit.fc_norm(tokens)
        rows = images.shape[-2] // self.vit.patch_embed.patch_size[0]
        return tokens.transpose(1, 2).unflatten(2, (rows, -1))


class LastStage(nn.Module):
    """A timm feature extractor that keeps one stage, as an encoder."""

    def __init__(self, extractor: nn.Module, channels_last: bool) -> None:
        super().__init__()
        self.extractor = extractor
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, 3, H, W] -> [B, C, h, w]."""
        features = self.extractor(images)[-1]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def check_backbone_name(name: str) -> None:
    """Raise InputError if timm has no such model (the nearest are named) or no such tag of it."""
    if timm.is_model(name):
        try:
            timm.get_pretrained_cfg(name)
        except RuntimeError as error:
            raise InputError(" ".join(str(error).split())) from error
        return
    near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise InputError(f"timm {timm.__version__} has no model {name!r}{hint}")


def build_network(
    name: str,
    *,
    classes: int,
    image_size: int,
    weights: str | Path = "none",
    partial_weights: bool = False,
    stage: str | int | None = None,
    output_stride: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """Build a backbone with a fresh linear head; seed torch before, the head is drawn at random.

    Args:
        name: a timm model, CNN or ViT.
        classes: K, the outputs of the head.
        image_size: side of the square input in pixels; a ViT's patch must divide it.
        weights: "none" (random), "pretrained" (timm's hub) or a file (.safetensors, .pth).
        partial_weights: accept a file that lacks some of the encoder's parameters.
        stage: CNN only: the stage whose map is used, by name ("layer3") or by timm's index;
            the last one by default.
        output_stride: CNN only: input pixels per feature location, by dilation (8, 16, 32).
        options: further arguments of the timm model, such as `embed_dim`, `depth`, `channels`.

    Raises:
        InputError: unknown name, stage or option, or a size or a weights file that does not fit.

    """
    check_backbone_name(name)
    pretrained = weights == "pretrained"
    vit_named = is_vit(name)
    if vit_named and (stage is not None or output_stride is not None):
        raise InputError(f"{name}: stage and output_stride are for CNNs; this is a ViT")
    arguments = {**(options or {}), "pretrained": pretrained}
    try:
        if vit_named:
            vit: Any = timm.create_model(name, num_classes=0, img_size=image_size, **arguments)
            _check_patch(name, vit, image_size)
            encoder: PatchTokens | LastStage = PatchTokens(vit)
            channels = int(vit.num_features)
        else:
            encoder, channels = _cnn(name, stage, output_stride, arguments)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError, OSError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"timm cannot build {name!r} with {dict(options or {})}: {said}"
        ) from error
    if str(weights) not in ("none", "pretrained"):
        target = encoder.vit if isinstance(encoder, PatchTokens) else encoder.extractor
        load_weights(target, weights, partial=partial_weights)
    if not vit_named:
        # 1.2 to 1.4 times as many images a second on a CPU (ResNet-18 at 64 and 224 px).
        encoder.to(memory_format=torch.channels_last)
    config: Any = timm.get_pretrained_cfg(name)
    return Network(encoder, channels, classes, tuple(config.mean), tuple(config.std))


def is_vit(name: str) -> bool:
    """Whether the model keeps one sequence of tokens on a fixed patch grid."""
    module = timm.model_entrypoint(name).__module__.rsplit(".", 1)[-1]
    return module in {"vision_transformer", "deit", "eva", "beit"}


def _check_patch(name: str, vit: Any, image_size: int) -> None:
    patch = vit.patch_embed.patch_size[0]
    if image_size % patch:
        raise InputError(
            f"{name}: its patch of {patch} does not divide the image size {image_size}"
        )


def _cnn(
    name: str, stage: str | int | None, output_stride: int | None, arguments: dict[str, Any]
) -> tuple[LastStage, int]:
    if output_stride is not None:
        arguments = {**arguments, "output_stride": output_stride}
    # Which stages there are is known from the architecture alone, so ask without weights.
    outline: Any = timm.create_model(name, features_only=True, **{**arguments, "pretrained": False})
    names = list(outline.feature_info.module_name())
    if stage is None:
        index = len(names) - 1
    elif isinstance(stage, str) and stage in names:
        index = names.index(stage)
    elif isinstance(stage, int) and 0 <= stage < len(names):
        index = stage
    else:
        raise InputError(f"{name} has no stage {stage!r}; it has {', '.join(names)}")
    extractor: Any = timm.create_model(name, features_only=True, out_indices=[index], **arguments)
    channels_last = getattr(extractor, "output_fmt", None) == "NHWC"
    return LastStage(extractor, channels_last), extractor.feature_info.channels()[-1]
