"""The one call for CAMs, of networks of this package and of any other classifier."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import nn

from wsss_core.backbones import Network, evaluating
from wsss_core.cams.any_model import ClassChoice, ClassMaps, model_cams
from wsss_core.cams.multi_scale import RawScores, network_cams
from wsss_core.cams.settings import CamMethod, CamSettings
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError


@overload
def cams(
    model: Network,
    images: np.ndarray,
    settings: CamSettings | None = None,
    *,
    device: str | None = None,
    batch_size: int = 64,
) -> RawScores: ...


@overload
def cams(
    model: nn.Module,
    images: Any,
    *,
    target_layer: nn.Module | str | None = None,
    method: CamMethod | None = None,
    classes: ClassChoice | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    batch_size: int = 64,
) -> ClassMaps: ...


def cams(
    model: nn.Module,
    images: Any,
    settings: CamSettings | None = None,
    *,
    target_layer: nn.Module | str | None = None,
    method: CamMethod | None = None,
    classes: ClassChoice | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    batch_size: int = 64,
) -> RawScores | ClassMaps:
    """Return CAMs of any classifier, which keeps its mode, hooks and gradients.

    `cams(model, images, target_layer=..., method=...)` takes any `nn.Module` that turns images
    [B, 3, H, W] into logits [B, K], as torch-cam and pytorch-grad-cam do. `cams(network, images,
    CamSettings(...))` makes what studies keep of a `Network` of this package: all classes, several
    scales, layers and flips (see `multi_scale.network_cams`); without settings, class-weight CAMs.

    Args:
        model: the classifier: timm's, torchvision's, one's own.
        images: pictures, normalised here: uint8 [H, W, 3], [B, H, W, 3], [3, H, W], [B, 3, H, W],
            or floats in 0..1 with channels last. Or float [3, H, W], [B, 3, H, W], which the
            network takes as they are. With settings uint8 [N, S, S, 3].
        settings: of a `Network`; none of the next five goes with them.
        target_layer: where Grad-CAM and LayerCAM look: a module or its dotted name. None: norm1 of
            a plain ViT's last block, else the last module with a map on which the logits depend.
            A map is [B, C, h, w], [B, h, w, C] or the tokens of a grid, in a tuple or list too.
        method: "grad_cam" (the default), "layer_cam", "class_weight" (where a mean over locations
            and one linear layer end the network), "attention" (such transformers of timm).
        classes: "predicted" (the default, each image's highest logit), "all", a number, a list of
            numbers for every image, or one list for each image, [B, K'].
        mean: of RGB in 0..1, subtracted from pictures; None: the one that timm's models name.
        std: of RGB in 0..1, which divides them then; given together with the mean.
        device: where the network goes; None: it stays, but a `Network` with settings goes to "cpu".
        batch_size: images a forward pass; halved where memory runs out.

    Returns:
        `ClassMaps`: raw maps float32 [B, K', h, w]; its `scores()` are in 0..1 at the images' size.
        Of a `Network` with settings, or with none of those five, `RawScores`.

    Raises:
        InputError: an argument of another type, shape or range, no such layer, or a method that
            the network does not allow; the message says what was expected.

    Example:
        >>> from torch.nn import AdaptiveAvgPool2d, Conv2d, Flatten, Linear, ReLU, Sequential
        >>> stages = Conv2d(3, 8, 3, stride=4, padding=1), ReLU(), AdaptiveAvgPool2d(1), Flatten()
        >>> model = Sequential(*stages, Linear(8, 5))
        >>> image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
        >>> found = cams(model, image, method="layer_cam", mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> found.maps.shape, found.classes.tolist() == [found.logits.argmax()]
        ((1, 8, 12), True)
        >>> found.scores().shape
        (1, 32, 48)

    """
    options: dict[str, Any] = {"method": method, "target_layer": target_layer, "classes": classes}
    options |= {"mean": mean, "std": std}
    new = {name: value for name, value in options.items() if value is not None}
    _check_call(model, settings, new)
    if settings is not None or (not new and _tells_its_maps(model, images)):
        network: Any = model
        return network_cams(
            network, images, settings, device=device or "cpu", batch_size=batch_size
        )
    return model_cams(model, images, device=device, batch_size=batch_size, **new)


def _check_call(model: object, settings: object, new: Mapping[str, Any]) -> None:
    """Raise InputError unless the arguments belong together."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if settings is not None and new:
        raise InputError(
            f"{', '.join(new)}: expected either settings or these; CamSettings hold the method "
            "and layers of a Network of this package"
        )
    if settings is not None and not isinstance(settings, CamSettings):
        raise InputError(
            f"settings: expected CamSettings, got {type(settings).__name__}; give method, "
            "target_layer and classes by name"
        )


def _tells_its_maps(model: nn.Module, images: Any) -> bool:
    """Return whether a network is one of this package, or answers a first image like one."""
    if isinstance(model, Network):
        return True
    stack = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4
    if not stack or not len(images) or images.shape[-1] != 3:
        return False
    device = next((tensor.device for tensor in model.parameters()), "cpu")
    try:
        with torch.no_grad(), evaluating(model):
            return hasattr(model(to_input(images[:1], device)), "activation_maps")
    except Exception:
        return False  # another kind of network, which is asked again as such
