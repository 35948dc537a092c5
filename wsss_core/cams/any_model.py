"""CAMs of any classifier: timm's, torchvision's, one's own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsss_core.backbones import evaluating
from wsss_core.backbones.attending import attending_model, listening
from wsss_core.cams.attention import attention_over
from wsss_core.cams.gradient import GRADIENT_METHODS
from wsss_core.cams.linear_head import LinearHead, find_linear_head
from wsss_core.cams.multi_scale import NETWORK_ERRORS
from wsss_core.cams.pictures import read_pictures
from wsss_core.cams.restoring import captured, frozen
from wsss_core.cams.settings import WITH_LAYERS, CamMethod
from wsss_core.cams.target_layers import find_point, logits_of, recorded
from wsss_core.errors import InputError, quoted, raised
from wsss_core.evaluate import Normalisation, normalise, resize
from wsss_core.out_of_memory import in_batches, is_out_of_memory

ClassChoice = str | int | Sequence[int] | Sequence[Sequence[int]] | NDArray[np.integer] | Tensor
"""Which classes get maps, see `wsss_core.cams.cams`."""

Pick = Callable[[Tensor], Tensor]
"""From logits [B, K] to the classes int64 [B, K'] that get maps."""

Maker = Callable[[Tensor, Pick], tuple[Tensor, Tensor, Tensor]]
"""From a batch of a network's input to maps float32 [B, K', h, w], their classes, and logits."""


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """The CAMs of B images for K' classes each; of a single image all arrays lack the axis B.

    Attributes:
        maps: float32 [B, K', h, w] at the layer's own grid, raw as the method's paper defines them:
            Grad-CAM and LayerCAM after their ReLU, class-weight CAMs with their negative part.
        classes: int64 [B, K'], the class of each map.
        logits: float32 [B, K], all of the network's.
        image_size: (H, W) of the images in pixels.

    """

    maps: NDArray[np.float32]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]
    image_size: tuple[int, int]

    def __repr__(self) -> str:
        classes = np.array2string(self.classes, separator=", ", threshold=20).replace("\n", "")
        height, width = self.image_size
        return (
            f"ClassMaps(maps {list(self.maps.shape)} of classes {classes}, "
            f"images of {width} x {height} px)"
        )

    def scores(self, normalisation: Normalisation = "min_max") -> NDArray[np.float32]:
        """Return the maps in 0..1 at the images' size, float32 [B, K', H, W].

        Each map is normalised, stretched over the image bilinearly, and normalised again, because
        interpolation lowers its peak. With `min_max`, Grad-CAM and LayerCAM then are the maps of
        pytorch-grad-cam.

        Args:
            normalisation: see `wsss_core.evaluate.normalise`; `sigmoid` is applied once.

        Raises:
            InputError: for another name, or maps that are not finite.

        """
        stretched = resize(normalise(self.maps, normalisation), self.image_size)
        return stretched if normalisation == "sigmoid" else normalise(stretched, normalisation)


def model_cams(
    model: nn.Module,
    images: Any,
    *,
    target_layer: nn.Module | str | None = None,
    method: CamMethod = "grad_cam",
    classes: ClassChoice = "predicted",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    batch_size: int = 64,
) -> ClassMaps:
    """Return CAMs of any classifier; see `wsss_core.cams.cams` for arguments and errors."""
    _check_method(method, target_layer)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise InputError(f"batch_size {quoted(batch_size)}: expected a whole number from 1 on")
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected 1 or more")
    pictures = read_pictures(images, model, mean, std)
    asked = _asked_classes(classes, len(pictures))
    if device is not None:
        _move(model, device)
    where, dtype = _place(model)
    if where.type == "meta":
        raise InputError(
            "model: lies on the device meta, without weights; expected a model with weights"
        )
    height, width = pictures.size

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        stack.enter_context(_cannot_take(model, pictures.size))
        first = pictures.batch(slice(0, 1), where, dtype)
        make = _maker(model, method, target_layer, first)

        def of(part: slice, _: int) -> list[NDArray[Any]]:
            batch = pictures.batch(part, where, dtype)
            maps, chosen, logits = make(batch, partial(_chosen, asked, part))
            kept = (maps.float(), chosen, logits.float())
            return [tensor.detach().cpu().numpy() for tensor in kept]

        what = f"CAMs by {method} of images of {width} x {height} px"
        made = in_batches(of, len(pictures), batch_size, device=str(where), what=what)
    maps, found, logits = (np.concatenate(parts) for parts in zip(*made, strict=True))
    if pictures.single:
        maps, found, logits = maps[0], found[0], logits[0]
    return ClassMaps(maps, found, logits, pictures.size)


def _check_method(method: str, target_layer: object) -> None:
    if method not in get_args(CamMethod):
        raise InputError(
            f"method {quoted(method)}: expected one of {', '.join(get_args(CamMethod))}"
        )
    if method not in WITH_LAYERS and target_layer is not None:
        raise InputError(
            f"target_layer: expected None for method {method}, which has no choice of layers; "
            f"{' and '.join(WITH_LAYERS)} have"
        )


def _place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the type of a network's numbers."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def _move(model: nn.Module, device: str) -> None:
    """Bring a network to a device."""
    try:
        model.to(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f'device {quoted(device)}: expected one of this machine, such as "cpu" or "cuda": '
            f"{raised(error)}"
        ) from error


@contextmanager
def _cannot_take(model: nn.Module, size: tuple[int, int]) -> Iterator[None]:
    """Turn what a network raises of its images into bad input."""
    try:
        yield
    except InputError:
        raise
    except NETWORK_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"model: {type(model).__name__} cannot take these images of {size[1]} x {size[0]} px: "
            f"{raised(error)}"
        ) from error


def _asked_classes(classes: ClassChoice, count: int) -> str | NDArray[np.int64]:
    """Return "predicted", "all", or class numbers int64 [1, K'] or [N, K']."""
    expected = (
        'classes: expected "predicted", "all", a class number, a list of them for every image, '
        "or one list an image [B, K']"
    )
    if isinstance(classes, str):
        if classes not in ("predicted", "all"):
            raise InputError(f"{expected}; got {classes!r}")
        return classes
    try:
        numbers = np.asarray(classes.cpu() if isinstance(classes, Tensor) else classes)
    except ValueError as error:
        raise InputError(f"{expected}; got lists of different lengths") from error
    if numbers.dtype.kind not in "iu" or numbers.ndim > 2 or not numbers.size:
        raise InputError(f"{expected}; got {quoted(classes)}")
    if numbers.ndim == 2 and len(numbers) != count:
        raise InputError(
            f"{expected}; got {len(numbers)} lists for {count} image{'s' * (count > 1)}"
        )
    return numbers.astype(np.int64).reshape(numbers.shape if numbers.ndim == 2 else (1, -1))


def _chosen(asked: str | NDArray[np.int64], part: slice, logits: Tensor) -> Tensor:
    """Return the classes that get maps, int64 [B, K'], for a part of the images."""
    count, known = logits.shape
    if not isinstance(asked, str):
        lowest, highest = int(asked.min()), int(asked.max())
        if lowest < 0 or highest >= known:
            raise InputError(
                f"classes: expected numbers from 0 to {known - 1}, the network's {known} classes, "
                f"got {lowest if lowest < 0 else highest}"
            )
        rows = asked if len(asked) == 1 else asked[part]
        return torch.tensor(rows, device=logits.device).expand(count, -1)
    if asked == "all":
        return torch.arange(known, device=logits.device).expand(count, -1)
    return logits.argmax(1, keepdim=True)


def _maker(model: nn.Module, method: str, target: nn.Module | str | None, first: Tensor) -> Maker:
    """Return what makes the maps of a batch, told from the first image."""
    if method in WITH_LAYERS:
        return _by_gradients(model, method, target, first)
    if method == "class_weight":
        return partial(_by_weights, model, _head(model, first))
    encoder: Any = getattr(model, "encoder", model)
    vit: Any = attending_model(encoder)
    blocks = len(encoder.layers if hasattr(encoder, "layers") else vit.blocks)
    prefix = int(getattr(vit, "num_prefix_tokens", 0))
    head = _head(model, first)

    def make(images: Tensor, pick: Pick) -> tuple[Tensor, Tensor, Tensor]:
        with listening(encoder) as heard:
            maps, classes, logits = _by_weights(model, head, images, pick)
        return attention_over(maps, heard, prefix, blocks), classes, logits

    return make


def _head(model: nn.Module, first: Tensor) -> LinearHead | None:
    """Return how a network ends; None for one of this package, which tells its maps itself."""
    with torch.no_grad():
        if hasattr(model(first), "activation_maps"):
            return None
    return find_linear_head(model, first)


def _by_weights(
    model: nn.Module, head: LinearHead | None, images: Tensor, pick: Pick
) -> tuple[Tensor, Tensor, Tensor]:
    """Return class-weight CAMs, without gradient."""
    with torch.no_grad():
        if head is None:
            output: Any = model(images)
            classes = pick(output.logits)
            each = torch.arange(len(images), device=classes.device)[:, None]
            return output.activation_maps[each, classes], classes, output.logits
        point = head.point
        with recorded({"": point.module}) as calls:
            logits = logits_of(model(images))
        held = point.layout.pick(calls[point.call].output)
        classes = pick(logits)
        found = point.layout.as_map(held, images.shape[-2], images.shape[-1])
        return head.maps(found, classes), classes, logits


def _by_gradients(
    model: nn.Module, method: str, target: nn.Module | str | None, first: Tensor
) -> Maker:
    point = find_point(model, target, first)
    combine = GRADIENT_METHODS[method]

    def make(images: Tensor, pick: Pick) -> tuple[Tensor, Tensor, Tensor]:
        def as_map(tensor: Tensor) -> Tensor:
            return point.layout.as_map(tensor, images.shape[-2], images.shape[-1]).float()

        with torch.enable_grad():
            with captured([point]) as found:
                logits = logits_of(model(images))
            unused = 0 not in found or not logits.requires_grad
            classes = pick(logits.detach())
            maps: list[Tensor] = []
            for k, picked in enumerate(logits.gather(1, classes).unbind(1)):
                gradient = None
                if not unused:
                    (gradient,) = torch.autograd.grad(
                        picked.sum(),
                        found[0],
                        retain_graph=k + 1 < classes.shape[1],
                        allow_unused=True,
                    )
                if gradient is None:
                    raise InputError(
                        "target_layer: expected a layer on which the logits depend, and on "
                        f"{quoted(target)} they do not"
                    )
                maps.append(combine(as_map(found[0].detach()), as_map(gradient)))
        return torch.stack(maps, 1), classes, logits.detach()

    return make
