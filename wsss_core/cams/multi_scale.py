"""CAMs of an image set by any method, at several scales, batched over images, scales and flips.

The plain method is the CAM from the linear head (Zhou et al., CVPR 2016, eq. 2). Its scores are
kept raw: normalising each map hides the absolute scale (an image without the class still peaks at
1), so that is a later, named choice.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.backbones import Encoder, Network, cell_side, evaluating
from wsss_core.backbones.attending import attending_model
from wsss_core.cams.attention import attention_cams
from wsss_core.cams.fusion import fuse, merge, resize_maps
from wsss_core.cams.gradient import GRADIENT_METHODS, gradient_cams
from wsss_core.cams.grids import over_image
from wsss_core.cams.restoring import resized_for
from wsss_core.cams.settings import CamSettings, scaled_size
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError, raised
from wsss_core.out_of_memory import in_batches
from wsss_core.progress import made_progress


@dataclass(frozen=True)
class RawScores:
    """A network's raw answer for N images.

    Attributes:
        maps: float16 [N, K, h, w], raw class scores at the network's own grid, each divided by its
            factor; scores of 0 to 1 where several were put together (`CamSettings.normalised`).
            Where the network's cells do not share the image evenly, the grid is finer (see
            `wsss_core.cams.grids`).
        logits: float32 [N, K].
        factors: float32 [N, K], powers of two. A factor is 1 where the map fits float16: where its
            largest magnitude is 2^-14 to 65,504, or 0. Elsewhere it brings that to 1 up to 2.

    """

    maps: np.ndarray
    logits: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, maps: Tensor, logits: Tensor) -> Self:
        """Return the scores of maps float [N, K, h, w] and logits [N, K] of any precision."""
        halves, factors = as_float16(maps)
        return cls(halves.cpu().numpy(), logits.float().cpu().numpy(), factors.cpu().numpy())

    @classmethod
    def joined(cls, batches: Sequence[Self]) -> Self:
        """Return the scores of the images of several batches, in order."""
        names = ("maps", "logits", "factors")
        return cls(*(np.concatenate([getattr(one, name) for one in batches]) for name in names))


def class_weight_cams(
    network: Network, images: np.ndarray, *, device: str = "cpu", batch_size: int = 64
) -> RawScores:
    """Return raw CAMs and logits of uint8 [N, S, S, 3] images: `cams` by its default settings."""
    return network_cams(network, images, CamSettings(), device=device, batch_size=batch_size)


def network_cams(
    network: Network,
    images: np.ndarray,
    settings: CamSettings | None = None,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> RawScores:
    """Return CAMs and logits of images; the network keeps its mode and is on the device.

    The default settings give class-weight CAMs of any network. Grad-CAM and LayerCAM are multiplied
    by the number of locations of their layer: their gradients are of a mean over locations, so as
    defined they would shrink with the grid (out of float16's range, and a larger scale would count
    less).
    Grad-CAM at the last stage of a CNN then is the class-weight CAM without its negative part.

    Args:
        network: any for class-weight CAMs; else one with an encoder of this package.
        images: uint8 [N, S, S, 3].
        settings: how; a layer's raw maps are at its own grid, merged ones at that of scale 1.
        device: where the network runs.
        batch_size: images a forward pass at scale 1. Other scales hold as many pixels, and methods
            that keep more than the last layer's values fewer images. Halved where memory runs out.

    Returns:
        Maps float16 [N, K, h, w] at the grid of scale 1, raw or, where `settings.normalised`, in
        0..1; logits float32 [N, K] of the plain image at scale 1.

    Raises:
        InputError: images of another type or shape, or a network without the layer or the encoder
            that the settings ask for.

    """
    settings = settings or CamSettings()
    check_image_stack(images)
    check_encoder(network, settings)
    network.to(device)

    def of(part: slice, size: int) -> RawScores:
        views, grid, logits = raw_views(network, to_input(images[part], device), settings, size)
        return RawScores.of(merged_views(views, grid, settings), logits)

    what = f"CAMs by {settings.method} of images of {images.shape[2]} x {images.shape[1]} px"
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        made = in_batches(of, len(images), batch_size, device=device, what=what)
    return RawScores.joined(made)


def check_image_stack(images: Any) -> None:
    """Raise InputError unless images are an array uint8 [N, H, W, 3] of at least one."""
    shape: tuple[int, ...] = tuple(getattr(images, "shape", ()))
    fits = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not fits or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        kind = f"{images.dtype} " if isinstance(images, np.ndarray) else ""
        raise InputError(
            "images: expected uint8 [N, S, S, 3] of at least one image, got "
            f"{type(images).__name__} {kind}{list(shape)}; with `method` other layouts are taken"
        )


def as_float16(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps as float16, each divided by a power of two where it would not fit, and these.

    Args:
        maps: float [N, K, h, w].

    Returns:
        float16 [N, K, h, w] and float32 [N, K], the factors (see `RawScores`). A map with a value
        that is not finite has the factor 1.

    """
    maps = maps.float()
    largest = maps.abs().amax((-2, -1))
    limits = torch.finfo(torch.float16)
    fits = (largest >= limits.smallest_normal) & (largest <= limits.max)
    fits |= (largest == 0) | ~largest.isfinite()
    exponents = torch.where(fits, 0, torch.frexp(largest).exponent - 1).clamp(min=-126)
    factors = torch.ldexp(torch.ones_like(largest), exponents)
    return (maps / factors[..., None, None]).to(torch.float16), factors


def check_encoder(network: Any, settings: CamSettings) -> None:
    """Raise InputError unless a network has what the method looks into.

    The error names the layers there are, or says that there is no encoder to look into.
    """
    if settings.method == "class_weight":
        return
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise InputError(
            f"method {settings.method}: expected a network with an encoder of this package, "
            f"{type(network).__name__} has none; class_weight works for every network"
        )
    if settings.method == "attention":
        attending_model(encoder)
    for layer in settings.layers:
        encoder.channels_at(layer)


def check_cam(network: Network, settings: CamSettings, image_size: int) -> None:
    """Raise InputError unless a network can be asked for such CAMs: one blank image is tried.

    Args:
        network: with any weights; it is left as it came.
        settings: how CAMs are to be made. Of several scales the smallest and the largest but 1
            are tried, besides 1.
        image_size: S of the images.

    Raises:
        InputError: it cannot; the error says why.

    """
    check_encoder(network, settings)
    others = [scale for scale in settings.scales if scale != 1] or [1.0]
    device = next((str(p.device) for p in network.parameters()), "cpu")
    blank = np.zeros((1, image_size, image_size, 3), np.uint8)
    for scale in dict.fromkeys((min(others), max(others))):
        try:
            network_cams(network, blank, replace(settings, scales=(scale,)), device=device)
        except InputError:
            raise
        except NETWORK_ERRORS as error:
            multiple = getattr(getattr(network, "encoder", None), "size_multiple", 1)
            side = scaled_size(image_size, scale, multiple)
            raise InputError(
                f"CAMs by {settings.method} at scales {list(settings.scales)} of {image_size} px "
                f"images: the network cannot take {side} px: {raised(error)}"
            ) from error


NETWORK_ERRORS = (
    AssertionError,
    AttributeError,
    IndexError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What networks raise of images that they cannot take."""


def view_sides(network: Any, size: int, settings: CamSettings) -> list[int]:
    """Return the side in pixels of images at each scale; the network's patch decides its rounding.

    Args:
        network: the network.
        size: the side of the images at scale 1.
        settings: their scales count.

    """
    multiple = getattr(getattr(network, "encoder", None), "size_multiple", 1)
    return [scaled_size(size, scale, multiple) for scale in settings.scales]


def merged_views(views: Sequence[Tensor], grid: tuple[int, int], settings: CamSettings) -> Tensor:
    """Return the maps of one or several views as one at a grid, [N, K, h, w].

    Args:
        views: see `raw_views`.
        grid: height and width of the result.
        settings: how several are merged; a single one is only resized.

    """
    if not settings.merged:
        return resize_maps(views[0], grid)
    return merge(views, grid, settings.merge)


def raw_views(
    network: Any, pixels: Tensor, settings: CamSettings, batch_size: int
) -> tuple[list[Tensor], tuple[int, int], Tensor]:
    """Return the maps of images at every scale, and of mirrored ones, before they are merged.

    Args:
        network: in evaluation mode, on the images' device.
        pixels: float [B, 3, S, S] in 0..1.
        settings: how; several layers are fused already.
        batch_size: images a forward pass at scale 1.

    Returns:
        Maps [B, K, h, w] of each view, at its own grid and flipped back; the grid of the plain
        image at scale 1; its logits [B, K].

    """
    size = pixels.shape[-1]
    sides = view_sides(network, size, settings)
    # The plain image is needed for its logits and its grid even where 1 is not among the scales.
    flip = settings.flip and size in sides
    plain, logits = _views(network, pixels, size, flip, settings, batch_size)
    grid = (plain[0].shape[-2], plain[0].shape[-1])
    views: list[Tensor] = []
    for side in sides:
        if side == size:
            views += plain
        else:
            views += _views(network, pixels, side, settings.flip, settings, batch_size)[0]
    return views, grid, logits


def _views(
    network: Any, pixels: Tensor, side: int, flip: bool, settings: CamSettings, batch_size: int
) -> tuple[list[Tensor], Tensor]:
    """Return maps at one size, those of mirrored images flipped back, and logits."""
    size = pixels.shape[-1]
    per_image = (side / size) ** 2 * (1 + flip) * _kept(network, settings)
    encoder = getattr(network, "encoder", None)
    maps: list[list[Tensor]] = [[], []]
    logits = []
    model = encoder.resizable if isinstance(encoder, Encoder) and side != size else None
    resized = nullcontext() if model is None else resized_for(model, side)
    with resized:
        for chunk in pixels.split(max(1, int(batch_size / per_image))):
            if side != size:
                chunk = F.interpolate(chunk, (side, side), mode="bilinear", align_corners=False)
            count = len(chunk)
            if flip:
                chunk = torch.cat([chunk, chunk.flip(-1)])
            found, said = _maps(network, chunk, settings)
            maps[0].append(found[:count])
            maps[1].append(found[count:].flip(-1))
            logits.append(said[:count])
            made_progress()
    return [torch.cat(view) for view in maps[: 1 + flip]], torch.cat(logits)


def _maps(network: Any, images: Tensor, settings: CamSettings) -> tuple[Tensor, Tensor]:
    """Return maps, raw or fused, and logits of a batch, float [B, 3, H, W] in 0..1.

    Their cells share the image evenly: whatever comes after may stretch them over it.
    """
    encoder = getattr(network, "encoder", None)
    size = (images.shape[-2], images.shape[-1])
    if settings.method in ("class_weight", "attention"):
        if settings.method == "attention":
            maps, logits = attention_cams(network, images)
        else:
            output = network(images)
            if not hasattr(output, "activation_maps"):
                raise InputError(
                    f"settings: expected a Network of this package, got {type(network).__name__}; "
                    "give method and target_layer instead, or wrap it by Network.from_timm"
                )
            maps, logits = output.activation_maps, output.logits
        return over_image(maps, size, cell_side(encoder)), logits
    combine = GRADIENT_METHODS[settings.method]
    found, logits = gradient_cams(network, images, settings.layers, combine)
    found = [
        over_image(maps * maps[0, 0].numel(), size, cell_side(encoder, layer))
        for layer, maps in zip(settings.layers, found, strict=True)
    ]
    return (found[0] if len(found) == 1 else fuse(found)), logits


def _kept(network: Any, settings: CamSettings) -> int:
    """Return about how many times the last layer's values a pass holds until its maps are made."""
    if settings.method == "attention":
        return 4  # queries and keys of every block
    if not settings.layers:
        return 1
    layers = list(network.encoder.layers)
    first = min(
        layers.index(layer) if layer in layers else int(layer) % len(layers)
        for layer in settings.layers
    )
    return len(layers) - first  # autograd holds all that comes after the first layer
