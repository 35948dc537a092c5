"""Building a timm model as an encoder: image sizes, memory format, errors in one line."""

import copy
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones.encoder import Encoder, PatchTokens, evaluating
from wsss_core.backbones.names import (
    PLAIN_VITS,
    SAME_ENCODER,
    Layer,
    has_patch_tokens,
    timm_config,
    timm_module,
)
from wsss_core.backbones.pretrained import pretrained_arguments
from wsss_core.backbones.size_limit import SizeLimit
from wsss_core.backbones.whole_model import WholeModel
from wsss_core.errors import InputError, as_input_error, quoted, raised
from wsss_core.plugins import load_plugin

MEASURED_SIZE = 96
"""Side in pixels of the image on which CNNs that take any size are measured."""


def build_encoder(
    name: str,
    image_size: int,
    feature_stage: Layer | None,
    final_norm: bool | None,
    arguments: Mapping[str, Any],
) -> Encoder:
    """Return the encoder of a timm model.

    Args:
        name: a timm model.
        image_size: side of the images in pixels.
        feature_stage: see `WholeModel`; not for plain ViTs.
        final_norm: see `WholeModel`; None: it is taken. Not for plain ViTs.
        arguments: of `timm.create_model`, with `output_stride` if it is asked for.

    Raises:
        InputError: timm cannot build it, it takes no images of this size, it has no such stage, or
            it does not keep the output stride.

    """
    if not has_patch_tokens(name):
        return _whole_model(name, image_size, feature_stage, final_norm is not False, arguments)
    if not (feature_stage is None and final_norm is None and "output_stride" not in arguments):
        raise InputError(f"{name}: stage, final_norm and output_stride are not for plain ViTs")
    return _patch_tokens(name, image_size, arguments)


def _patch_tokens(name: str, image_size: int, arguments: Mapping[str, Any]) -> PatchTokens:
    vit: Any = _create(name, {**arguments, "num_classes": 0, "img_size": image_size})
    patch = vit.patch_embed.patch_size[0]
    if image_size % patch:
        raise InputError(
            f"{name}: its patch of {patch} does not divide the image size {image_size}"
        )
    return PatchTokens(vit)


def _whole_model(
    name: str,
    image_size: int,
    feature_stage: Layer | None,
    final_norm: bool,
    arguments: Mapping[str, Any],
) -> WholeModel:
    draws = torch.get_rng_state()
    if timm_module(name) in SAME_ENCODER:
        # Drawn and dropped: networks of equal keys start from the draws they always started from.
        _create(name, {**arguments, "pretrained": False})
        sizes: list[dict[str, int]] = [{}]
        # These take images of any size, so a small one tells all.
        image_size = min(image_size, MEASURED_SIZE)
    else:
        sizes = [{"img_size": image_size}, {}]
    for size in sizes:
        try:
            extractor = _create(name, {**arguments, **size})
        except InputError as error:
            if not size or isinstance(error.__cause__, OSError):
                raise  # without the size it is no better: a wrong option, an unreachable hub
            torch.set_rng_state(draws)
            continue
        extractor.reset_classifier(0)
        try:
            encoder = WholeModel(extractor, image_size, feature_stage, final_norm=final_norm)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception as error:
            if size:
                torch.set_rng_state(draws)
                continue
            if not isinstance(error, AssertionError | RuntimeError | ValueError):
                raise _refused(name, arguments, error) from error
            native = extractor.pretrained_cfg.get("input_size", (3, image_size))[-1]
            takes = f"; timm's size for it is {native} px" if native != image_size else ""
            raise InputError(
                f"{name} cannot take images of {image_size} px ({raised(error)}){takes}"
            ) from error
        _check_stride(name, encoder, image_size, arguments.get("output_stride"))
        return encoder
    raise AssertionError("the last size raises or returns")


def encoder_of(model: Any, image_size: int | None, feature_stage: Layer | None) -> Encoder:
    """Return an encoder over a copy of a timm model, on the CPU and in float32.

    Args:
        model: a timm model with or without its classifier; it is left as it is.
        image_size: side of the images in pixels; None: the one that the model is made for.
        feature_stage: see `WholeModel`; not for plain ViTs.

    Raises:
        InputError: it is no timm model, takes no images of this size, or has no such stage.

    """
    needed = ("forward_features", "reset_classifier", "get_classifier", "pretrained_cfg")
    if not isinstance(model, nn.Module) or not all(hasattr(model, name) for name in needed):
        raise InputError(
            f"model: expected a timm model, got a {type(model).__name__}; wsss_core.cams.cams "
            "takes any classifier as it is"
        )
    name, module = type(model).__name__, type(model).__module__.rpartition(".")[2]
    own_size = native_size(model)
    size = image_size or own_size
    mine: Any = copy.deepcopy(model).to("cpu", torch.float32)
    mine.reset_classifier(0)
    try:
        if size != own_size and hasattr(mine, "set_input_size"):
            mine.set_input_size(img_size=(size, size))
        if module in PLAIN_VITS and hasattr(mine, "blocks"):
            if feature_stage is not None:
                raise InputError(f"{name}: stage is not for plain ViTs")
            if size % mine.patch_embed.patch_size[0]:
                raise InputError(f"{name}: its patch does not divide the image size {size}")
            return PatchTokens(mine)
        # These take images of any size, so a small one tells all.
        measured = min(size, MEASURED_SIZE) if module in SAME_ENCODER else size
        return WholeModel(mine, measured, feature_stage)
    except InputError:
        raise
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name} cannot take images of {size} px ({raised(error)})") from error


def native_size(model: Any) -> int:
    """Return the side of the images in pixels that a timm model is made for."""
    held = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if held:
        return int(held[-1])
    return int((model.pretrained_cfg.get("input_size") or (3, 224, 224))[-1])


def _create(name: str, arguments: Mapping[str, Any]) -> Any:
    """Return a timm model; InputError in one line, with what was asked for."""
    try:
        timm_config(name)  # registers models of this package
        with SizeLimit(name):
            return timm.create_model(name, **arguments)
    except InputError:
        raise
    except Exception as error:
        # timm and PyTorch do not check options; whatever they raise is of the options.
        raise _refused(name, arguments, error) from error


def _refused(name: str, arguments: Mapping[str, Any], error: Exception) -> InputError:
    ours = ("num_classes", "img_size", "pretrained", "pretrained_cfg_overlay")
    asked = {option: value for option, value in arguments.items() if option not in ours}
    if arguments.get("pretrained"):
        asked["weights"] = "pretrained"
    return InputError(f"timm cannot build {name!r} with {quoted(asked)}: {raised(error)}")


def _check_stride(name: str, encoder: WholeModel, size: int, stride: int | None) -> None:
    last = encoder.stage == len(encoder.extractor.feature_info) - 1
    if stride is None or not last:
        return
    if encoder.grid[0] not in (size // stride, -(-size // stride)):
        raise InputError(
            f"{name}: output_stride {stride} is not met: its map of images of {size} px has "
            f"{encoder.grid[0]} locations a side"
        )


def timm_arguments(
    name: str, options: Mapping[str, Any], weights: object, output_stride: int | None
) -> dict[str, Any]:
    """Return what timm takes to build a model."""
    arguments = dict(options)
    if weights == "pretrained":
        arguments |= pretrained_arguments(name)
    if output_stride is not None:
        arguments["output_stride"] = output_stride
    return arguments


def set_memory_format(encoder: nn.Module) -> None:
    """Lay kernels out channels last, but where branches can be re-parameterised and in plain ViTs.

    It is 1.2 to 1.4 times as many images a second on a CPU (ResNet-18 at 64 and 224 px). Networks
    with re-parameterised branches (MobileOne, RepVGG, FastViT) keep PyTorch's format: in training,
    torch 2.15 corrupts its memory there.
    """
    merging = any(hasattr(module, "reparameterize") for module in encoder.modules())
    if merging or isinstance(encoder, PatchTokens):
        return

    def channels_last(tensor: Tensor) -> Tensor:
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    encoder._apply(channels_last)


def check_for_pcm(name: str, encoder: Encoder, size: int) -> None:
    """Raise InputError unless an encoder can have the head PCM.

    The head needs an inner stage, and takes images of half the size as well.
    """
    if isinstance(encoder, PatchTokens):
        raise InputError(f"{name}: head pcm is not for plain ViTs")
    if len(encoder.layers) < 2:
        raise InputError(f"{name}: head pcm needs a stage before {encoder.layers[-1]!r}")
    half = torch.zeros(1, 3, size // 2, size // 2)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(encoder):
            encoder.with_taps(half, (-2,))
    except Exception as error:
        raise InputError(
            f"{name}: head pcm looks at images at half their size as well, and the network cannot "
            f"take {size // 2} px ({raised(error)})"
        ) from error


def plugin_network(
    name: str, classes: int, image_size: int, options: Mapping[str, Any], head: str
) -> Any:
    """Return the network that a plug-in builds, which has the interface of `Network`."""
    if head != "linear":
        raise InputError(f"{name}: head {head!r} is for timm's CNNs; a plug-in brings its own")
    build = load_plugin("model", name)
    with as_input_error(f"model {name!r} with {dict(options)}", TypeError):
        network = build(classes=classes, image_size=image_size, **options)
    for attribute in ("channels", "classes", "channels_at", "forward"):
        if not hasattr(network, attribute):
            raise InputError(
                f"model {name!r}: what it returns has no {attribute!r}; expected a "
                "wsss_core.backbones.Network or a module with its interface"
            )
    return network
