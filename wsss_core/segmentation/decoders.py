"""Segmenters of segmentation-models-pytorch over timm encoders, with errors in one line."""

import importlib.util
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones import (
    SizeLimit,
    check_backbone_name,
    check_options,
    load_weights,
    pretrained_arguments,
    set_memory_format,
)
from wsss_core.errors import InputError, as_input_error, raised
from wsss_core.segmentation.segmenter import NormalisedSegmenter, check_multiple
from wsss_core.segmentation.settings import OF_TOKENS, Architecture, SegmenterSettings

SEGMENTATION_EXTRA = "pip install 'wsss-studies[segmentation]'"

_SET_HERE = frozenset(
    {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}
)

_OF_THE_LIBRARY = frozenset({"name", "weights", "depth", "output_stride", "output_indices"})
"""Arguments of the library's encoders, which an option of timm's of the same name cannot reach."""


class LibrarySegmenter(NormalisedSegmenter):
    """A model of segmentation-models-pytorch with its encoder's normalisation.

    Args:
        model: it has `encoder`, and gives K + 1 channels.
        classes: K, without the background.
        mean: subtracted from each RGB channel of images in 0..1.
        std: divides each RGB channel then.

    """

    def __init__(self, model: Any, classes: int, mean: Any, std: Any) -> None:
        super().__init__(classes, mean, std)
        self.model = model
        if getattr(model, "requires_divisible_input_shape", False):
            self.size_multiple = int(model.encoder.output_stride)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float [B, K + 1, H, W]."""
        logits: Tensor = self.model(self.normalised(images))
        return logits

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the decoder and the head."""
        for name, parameter in self.model.named_parameters():
            if not name.startswith("encoder."):
                yield parameter


def build_library_segmenter(
    settings: SegmenterSettings, classes: int, image_size: int
) -> LibrarySegmenter:
    """Build a decoder of segmentation-models-pytorch over a timm encoder.

    Args:
        settings: model, encoder, weights and options. Options are arguments of the library's class.
        classes: K, without the background.
        image_size: side of the square images in pixels; encoders of a fixed size are built for it.

    Raises:
        InputError: the library is not installed, there is no such encoder, option or weights, or
            the decoder cannot take the encoder or the size.

    """
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise InputError(
            f"segmenter {settings.model}: needs the package segmentation-models-pytorch; "
            f"{SEGMENTATION_EXTRA}"
        )
    check_backbone_name(settings.encoder)
    check_options(settings.encoder, settings.encoder_options)
    model = _built(settings, classes, image_size)
    said = f"segmenter {settings.model} over {settings.encoder}"
    if getattr(model, "requires_divisible_input_shape", False):
        check_multiple(said, (image_size,), int(model.encoder.output_stride))
    strides = set(getattr(model.encoder, "output_strides", ()))
    if len(strides) > 1:
        raise InputError(
            f"{said}: expected a plain ViT, whose maps have one stride, got strides "
            f"{', '.join(map(str, sorted(strides)))}; other decoders take networks with stages"
        )
    if hasattr(model.encoder.model, "reset_classifier"):
        model.encoder.model.reset_classifier(0)
    if settings.weights not in ("none", "pretrained"):
        _load_file(model.encoder.model, settings, image_size)
    set_memory_format(model)
    config: Any = timm.get_pretrained_cfg(settings.encoder)
    return LibrarySegmenter(model, classes, config.mean, config.std)


def _built(settings: SegmenterSettings, classes: int, image_size: int) -> Any:
    """Return the library's model, of an encoder of this image size where it has a fixed one."""
    import segmentation_models_pytorch as smp

    build = smp.MODEL_ARCHITECTURES_MAPPING[settings.model]
    _check_options(settings, build)
    arguments: dict[str, Any] = {**settings.options, **settings.encoder_options}
    if settings.weights == "pretrained":
        arguments |= pretrained_arguments(settings.encoder)
        del arguments["pretrained"]
    weights = True if settings.weights == "pretrained" else None
    draws = torch.get_rng_state()
    # CNNs know no image size; transformers of a fixed one have to be told.
    for size in ({"img_size": image_size}, {}):
        try:
            with SizeLimit(settings.encoder), warnings.catch_warnings():
                # DPT reads out no prefix token where there is none, whatever was asked for.
                warnings.filterwarnings("ignore", message="Encoder does not have prefix tokens")
                return build(
                    encoder_name=f"tu-{settings.encoder}",
                    encoder_weights=weights,
                    classes=classes + 1,
                    **arguments,
                    **size,
                )
        except InputError:
            raise
        except Exception as error:
            if size and not isinstance(error, OSError):
                torch.set_rng_state(draws)
                continue
            # The library and timm check little; whatever they raise is of what was asked for.
            raise _refused(settings, error) from error
    raise AssertionError("the last size raises or returns")


def _check_options(settings: SegmenterSettings, build: Any) -> None:
    known = set(inspect.signature(build.__init__).parameters) - _SET_HERE - {"self", "kwargs"}
    for option in settings.options:
        if option not in known:
            raise InputError(
                f"segmenter {settings.model}: option {option!r}, expected one of "
                f"{', '.join(sorted(known))}; options of the encoder are encoder_options"
            )
    taken = (set(inspect.signature(build.__init__).parameters) | _OF_THE_LIBRARY) - {"kwargs"}
    if clash := sorted(taken & set(settings.encoder_options)):
        raise InputError(
            f"segmenter {settings.model}: encoder_options {clash[0]!r} is a word of the library's "
            "own; choose another encoder instead, or one of the decoders "
            f"{', '.join(OF_TOKENS)}"
        )
    if (
        settings.model == Architecture.PSPNET
        and settings.options.get("encoder_depth", 3) != 3
        and "upsampling" not in settings.options
    ):
        depth = settings.options["encoder_depth"]
        raise InputError(
            f"segmenter pspnet with encoder_depth {depth} gives masks of another size; set "
            f"upsampling: {2 ** int(depth)} beside it"
        )


def _refused(settings: SegmenterSettings, error: Exception) -> InputError:
    said, text = f"segmenter {settings.model} over {settings.encoder}", str(error)
    if "downsampling pattern" in text:
        return InputError(
            f"{said}: the encoder has no stages, which this decoder joins; expected a CNN or a "
            f"transformer with stages, or one of the decoders {', '.join(('dpt', *OF_TOKENS))}"
        )
    dilated = (Architecture.DEEPLAB_V3, Architecture.DEEPLAB_V3_PLUS)
    if settings.model in dilated and ("output_stride" in text or isinstance(error, AssertionError)):
        return InputError(
            f"{said}: the encoder takes no output_stride, which this decoder needs; expected an "
            "encoder such as resnet50, convnext_tiny or efficientnet_b0, or a decoder such as unet "
            "or fpn"
        )
    return InputError(f"{said} cannot be built: {raised(error)}")


def _load_file(model: Any, settings: SegmenterSettings, image_size: int) -> None:
    """Load a weights file into the library's encoder, whose names of stages differ from timm's."""
    options: Mapping[str, Any] = {**settings.encoder_options, "num_classes": 0}
    said = f"segmenter {settings.model} over {settings.encoder}"
    with as_input_error(said, RuntimeError, ValueError):
        try:
            whole: Any = timm.create_model(settings.encoder, **options, img_size=image_size)
        except TypeError:
            whole = timm.create_model(settings.encoder, **options)
    load_weights(whole, settings.weights, partial=settings.partial_weights)
    state, found, lost = whole.state_dict(), {}, []
    for name, value in model.state_dict().items():
        own = next((each for each in _whole_names(name) if each in state), None)
        if own is None or state[own].shape != value.shape:
            lost.append(name)
        else:
            found[name] = state[own]
    if lost:
        raise InputError(f"{said}: {settings.weights} has nothing for the encoder's {lost[0]}")
    model.load_state_dict(found)


def _whole_names(name: str) -> Iterator[str]:
    """Yield what a tensor of timm's feature extractors may be called in the whole model."""
    yield name
    yield name.removeprefix("model.")
    stage, _, rest = name.partition(".")
    yield f"{stage.replace('_', '.')}.{rest}"
    outer, _, number = stage.rpartition("_")
    yield f"{outer}.{number}.{rest}"
