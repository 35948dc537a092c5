"""Building a segmenter from its settings, and trying it before anything depends on it."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from wsss_core.errors import InputError, as_input_error, raised
from wsss_core.plugins import is_plugin, load_plugin
from wsss_core.segmentation.decoders import build_library_segmenter
from wsss_core.segmentation.sam import build_sam_segmenter
from wsss_core.segmentation.segmenter import Segmenter, SegmenterOutput
from wsss_core.segmentation.settings import (
    OF_ANY_ENCODER,
    OF_TOKENS,
    Architecture,
    SegmenterSettings,
)
from wsss_core.segmentation.tokens import build_token_segmenter

_Build = Callable[[SegmenterSettings, int, int], Segmenter]

_BUILDERS: Mapping[str, _Build] = {
    **dict.fromkeys(Architecture, build_library_segmenter),
    **dict.fromkeys((*OF_TOKENS, *OF_ANY_ENCODER), build_token_segmenter),
    Architecture.SAM: build_sam_segmenter,
}

TRIED_IMAGES = 2
"""Images of the pass that tries a segmenter; BatchNorm needs two where a map is 1 x 1."""


class PluginSegmenter(Segmenter):
    """A plug-in's module as a segmenter.

    Args:
        module: from images float [B, 3, H, W] in 0..1 to logits [B, K + 1, H, W], or to a pair of
            logits and a sequence of auxiliary logits in training mode.
        classes: K, without the background.

    """

    def __init__(self, module: nn.Module, classes: int) -> None:
        super().__init__(classes)
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return logits float [B, K + 1, H, W]."""
        return self.with_auxiliary(images).logits

    def with_auxiliary(self, images: Tensor) -> SegmenterOutput:
        """See `Segmenter`."""
        found = self.module(images)
        if isinstance(found, tuple):
            return SegmenterOutput(found[0], tuple(found[1]))
        return SegmenterOutput(found)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the module's own `head_parameters` yields; nothing if it has none."""
        own = getattr(self.module, "head_parameters", None)
        if own is not None:
            yield from own()


def build_segmenter(settings: SegmenterSettings, *, classes: int, image_size: int) -> Segmenter:
    """Build a segmenter; seed torch before, heads are drawn at random.

    A plug-in "module:attribute" is called with classes, image_size and the options. It returns an
    nn.Module as `PluginSegmenter` takes it.

    Args:
        settings: what to build.
        classes: K, without the background.
        image_size: side of the square images in pixels.

    Raises:
        InputError: an encoder, option, size or weights file that does not fit; a package that is
            not installed.

    Example:
        >>> small = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}
        >>> pup = {"width": 16, "auxiliary": False}
        >>> settings = SegmenterSettings(
        ...     "setr_pup", "vit_tiny_patch16_224", options=pup, encoder_options=small
        ... )
        >>> segmenter = build_segmenter(settings, classes=1, image_size=32)
        >>> segmenter(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 2, 32, 32])

    """
    for name, value in (("classes", classes), ("image_size", image_size)):
        if type(value) is not int or value < 1:
            raise InputError(f"{name}: expected 1 or more, got {value!r}")
    if is_plugin(settings.model):
        segmenter: Segmenter = _plugin_segmenter(settings, classes, image_size)
    else:
        segmenter = _BUILDERS[settings.model](settings, classes, image_size)
    segmenter.settings, segmenter.image_size = settings, image_size
    return segmenter


def check_segmenter(settings: SegmenterSettings, *, classes: int, image_size: int) -> None:
    """Build a segmenter on the CPU, pass two images through it forward and backward, and drop it.

    What a decoder makes of an encoder shows only then: a size that is not divided, a network
    without stages, a mask of another size. Random numbers are left as they were.

    Args:
        settings: what to build.
        classes: K, without the background.
        image_size: side of the square images in pixels.

    Raises:
        InputError: see `build_segmenter`; also a pass that fails, logits of another shape, or
            logits or gradients that are not finite.

    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        segmenter = build_segmenter(settings, classes=classes, image_size=image_size)
        try_segmenter(segmenter, image_size)


def try_segmenter(segmenter: Segmenter, image_size: int) -> None:
    """Pass two random images through a segmenter, forward and backward; see `check_segmenter`."""
    settings = segmenter.settings
    said = "segmenter" if settings is None else f"segmenter {settings.model}"
    if settings is not None and settings.encoder:
        said += f" over {settings.encoder}"
    images = torch.rand(TRIED_IMAGES, 3, image_size, image_size)
    segmenter.train()
    try:
        output = segmenter.with_auxiliary(images)
        all_logits = [output.logits, *output.auxiliary]
        for logits in all_logits:
            _check_logits(said, logits, segmenter.classes, image_size)
        torch.stack([logits.float().square().mean() for logits in all_logits]).sum().backward()
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{said} cannot take images of {image_size} px: {raised(error)}"
        ) from error
    broken = [
        name
        for name, parameter in segmenter.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    segmenter.zero_grad(set_to_none=True)
    if broken:
        raise InputError(f"{said}: gradients of {broken[0]} are not finite")


def _check_logits(said: str, logits: Tensor, classes: int, image_size: int) -> None:
    expected = (TRIED_IMAGES, classes + 1, image_size, image_size)
    if tuple(logits.shape) != expected:
        raise InputError(
            f"{said}: gives logits {list(logits.shape)}, expected {list(expected)}; see the "
            "decoder's option upsampling"
        )
    if not logits.isfinite().all():
        raise InputError(f"{said}: logits of random images are not finite")


def _plugin_segmenter(
    settings: SegmenterSettings, classes: int, image_size: int
) -> PluginSegmenter:
    if settings.weights != "none":
        raise InputError(
            f"segmenter {settings.model}: a plug-in loads its own weights; see options"
        )
    build = load_plugin("segmenter", settings.model)
    with as_input_error(
        f"segmenter {settings.model!r} with options {dict(settings.options)}", TypeError
    ):
        module = build(classes=classes, image_size=image_size, **settings.options)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"segmenter {settings.model!r}: expected an nn.Module, got a {type(module).__name__}"
        )
    return PluginSegmenter(module, classes)
