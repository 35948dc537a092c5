"""The images that people hold, as input of any network.

Who normalises follows from the type. A picture (uint8, or floats 0..1 with channels last) is
normalised here, with the mean and std that its network names or its user gives. A float tensor
with channels first is taken for the network's own input and passed on as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsss_core.backbones import InputNormalisation, Network
from wsss_core.errors import InputError, one_line, quoted

EXPECTED = (
    "expected uint8 [H, W, 3], [B, H, W, 3], [3, H, W] or [B, 3, H, W], "
    "float [H, W, 3] in 0..1, or float [B, 3, H, W] as the network takes it"
)
_GREY = '; of a grey image or one with alpha Pillow makes RGB: image.convert("RGB")'
_RAW = 100.0  # no network's normalised input lies between 0 and more than this


@dataclass(frozen=True)
class Pictures:
    """Images on their way into a network.

    Attributes:
        images: [B, 3, H, W], uint8, floats in 0..1, or the network's own input.
        normalisation: what floats in 0..1 are normalised with; None for the network's own input.
        single: whether a single image was given, without an axis B.

    """

    images: Tensor
    normalisation: InputNormalisation | None
    single: bool

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W) in pixels."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    def batch(self, part: slice, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return a part as the network takes it, float [b, 3, H, W]; a new tensor."""
        images = self.images[part].to(device).clone()  # not made in inference mode
        if self.normalisation is None:
            return images.to(dtype)
        floats = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in self.normalisation)
        return ((floats - mean) / std).to(dtype)


def read_pictures(
    images: Any,
    model: nn.Module,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Pictures:
    """Return images of any accepted layout, with how they are normalised.

    Args:
        images: an array, a tensor or what NumPy takes for an array (a PIL image), see `EXPECTED`.
        model: the network; timm's name their mean and std, and a `Network` of this package
            normalises images in 0..1 itself.
        mean: of RGB in 0..1, in place of the network's own; for pictures alone.
        std: of RGB in 0..1; given together with the mean.

    Raises:
        InputError: another shape or type, an ambiguous one, values out of range, no mean and std.

    """
    given = _as_tensor(images)
    single = given.ndim == 3
    last = _channels_last(given)
    batch = given[None] if single else given
    if last:
        batch = batch.permute(0, 3, 1, 2)
    if 0 in batch.shape:
        raise InputError(f"images: expected at least one image with pixels, got {_shape(given)}")
    if batch.is_floating_point():
        _check_floats(batch, model, picture=last)
    if batch.is_floating_point() and not last:
        if mean is not None or std is not None:
            raise InputError(
                "mean and std: expected None for float images [B, 3, H, W], which are taken as "
                "the network's normalised input; give uint8 images to have them normalised"
            )
        return Pictures(batch, None, single)
    return Pictures(batch, _normalisation(model, mean, std), single)


def _as_tensor(images: Any) -> Tensor:
    if isinstance(images, Tensor):
        tensor = images.detach()
    else:
        try:
            array = np.asarray(images)
        except ValueError as error:
            raise InputError(
                "images: expected images of one size in a batch, got several; call cams for each "
                f"image, or resize them ({one_line(error, 100)})"
            ) from error
        if array.dtype.kind not in "buif":
            found = type(images).__name__
            if array.dtype.kind in "US":
                found = f"{found} {quoted(images)}; open files first"
            raise InputError(f"images: {EXPECTED}; got {found}")
        # Numbers that PyTorch lacks, such as uint16, are named by the next check.
        known = array.dtype == np.uint8 or array.dtype.kind == "f"
        tensor = torch.tensor(array) if known else torch.empty(array.shape, dtype=torch.int64)
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        kind = getattr(images, "dtype", tensor.dtype)
        raise InputError(f"images: {EXPECTED}; got {kind} {_shape(tensor)}")
    if tensor.ndim not in (3, 4):
        hint = _GREY if tensor.ndim == 2 else ""
        raise InputError(f"images: {EXPECTED}; got {_shape(tensor)}{hint}")
    return tensor


def _channels_last(images: Tensor) -> bool:
    """Return whether the channels are the last axis; InputError if that cannot be told."""
    first, last = images.shape[-3] == 3, images.shape[-1] == 3
    if first and last:
        raise InputError(
            f"images: the shape {_shape(images)} can be read with channels first or last; "
            "expected images wider than 3 px"
        )
    if not first and not last:
        # Of other channels no picture can be made, but a network may take them.
        if images.is_floating_point() and images.ndim == 4:
            return False
        raise InputError(
            f"images: {EXPECTED}; got {_shape(images)}, in which no axis has 3 channels{_GREY}"
        )
    return last


def _check_floats(images: Tensor, model: nn.Module, *, picture: bool) -> None:
    lowest, highest = float(images.min()), float(images.max())
    spans = f"got values from {lowest:.4g} to {highest:.4g}"
    if not math.isfinite(lowest) or not math.isfinite(highest):
        raise InputError("images: expected finite values, got NaN or infinity")
    if picture or isinstance(model, Network):
        whose = "images [H, W, 3]" if picture else "images for a Network, which normalises them"
        if lowest < 0 or highest > 1:
            raise InputError(
                f"images: expected float {whose} to lie in 0..1, {spans}; give levels of 0..255 "
                "as uint8"
            )
    elif lowest >= 0 and highest > _RAW:
        raise InputError(
            "images: expected float [B, 3, H, W] as the network takes it, normalised, "
            f"{spans}; give pictures of 0..255 as uint8"
        )


def _normalisation(
    model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None
) -> InputNormalisation:
    if isinstance(model, Network):
        if mean is not None or std is not None:
            raise InputError("mean and std: expected None for a Network, which has its own")
        return InputNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if (mean is None) != (std is None):
        raise InputError("mean and std: expected both or neither, got one of them")
    if mean is None or std is None:
        found = _named_by(model)
        if found is None:
            raise InputError(
                f"mean and std: {type(model).__name__} does not say how its images are "
                "normalised; expected both, such as mean=(0.485, 0.456, 0.406) and "
                "std=(0.229, 0.224, 0.225) of torchvision's weights, or float images "
                "[B, 3, H, W] that are normalised already"
            )
        mean, std = found
    for name, values in (("mean", mean), ("std", std)):
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        # Levels of 0..255 fail here, and NaN does.
        fits = len(numbers) == 3 and all(0 <= number <= 1 for number in numbers)
        if not fits or (name == "std" and min(numbers) <= 0):
            above = "above 0 and up to 1" if name == "std" else "from 0 to 1"
            raise InputError(
                f"{name}: expected three finite numbers {above}, of images in 0..1, "
                f"got {quoted(values)}"
            )
    red, green, blue = (float(value) for value in mean)
    reds, greens, blues = (float(value) for value in std)
    return InputNormalisation((red, green, blue), (reds, greens, blues))


def _named_by(model: nn.Module) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the mean and std of a timm model's configuration; None of another model."""
    for attribute in ("pretrained_cfg", "default_cfg"):
        config: Any = getattr(model, attribute, None)
        values = config if isinstance(config, dict) else vars(config) if config else {}
        if values.get("mean") is not None and values.get("std") is not None:
            return values["mean"], values["std"]
    return None


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
