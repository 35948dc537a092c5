"""The operations of RandAugment (Cubuk et al., NeurIPS 2020, arXiv 1909.13719).

The space and its magnitudes are those of torchvision's `RandAugment`, whose kernels do the work.
Two things differ, because masks and padding have to be right. The changes of colour come first, in
the order drawn, on the whole image: none of them sees padding. Then the moves follow; they
interpolate bilinearly, and masks, weights and the map of valid pixels move along.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.augmentation.sample import ImageViews
from wsss_core.augmentation.settings import STRENGTHS
from wsss_core.data import IGNORED

_SIGNED = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,
    "translate_y": 150 / 331,
    "rotate": 30.0,
    "brightness": 0.9,
    "colour": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
}
"""Operation -> its strongest magnitude: a slope, a share of the side, degrees, or a factor's
distance from 1. Half of the samples take its negative."""

RANDOM_OPS = ("identity", *_SIGNED, "posterize", "solarize", "auto_contrast", "equalize")
"""The operations, each as likely as the others."""

_MOVES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def random_colours(images: Tensor, drawn: NDArray, strength: int) -> Tensor:
    """Return images uint8 [B, 3, H, W] after those of their operations that change colours.

    Args:
        images: uint8 [B, 3, H, W].
        drawn: float [B, 2 N] in 0..1: N operations, then the sign of each.
        strength: 0..30.

    """
    changed = list(images)
    for place, (name, magnitude) in _drawn_ops(drawn, strength):
        if name not in _MOVES:
            changed[place] = apply_op(changed[place], name, magnitude)
    return torch.stack(changed)


def random_moves(sample: ImageViews, drawn: NDArray, strength: int) -> ImageViews:
    """Return views after those of their operations that move pixels; see `random_colours`."""
    moves = [(place, op) for place, op in _drawn_ops(drawn, strength) if op[0] in _MOVES]
    if not moves:
        return sample
    sample = sample.with_valid()
    parts: list[list[Tensor] | None] = [
        None if maps is None else list(maps)
        for maps in (sample.images, sample.masks, sample.weights, sample.valid)
    ]
    for place, (name, magnitude) in moves:
        for maps, fill in zip(parts, (0, IGNORED, 0, 0), strict=True):
            if maps is not None:
                smooth = maps is parts[0]
                maps[place] = _moved(maps[place], name, magnitude, fill, smooth)
    images, masks, weights, valid = (None if one is None else torch.stack(one) for one in parts)
    assert images is not None
    return sample._replace(images=images, masks=masks, weights=weights, valid=valid)


def apply_op(image: Tensor, name: str, magnitude: float) -> Tensor:
    """Return an image uint8 [3, H, W] after an operation that changes its colours."""
    from torchvision.transforms.v2 import functional  # loaded where it is asked for alone

    if name in ("identity", *_MOVES):
        return image
    factors: dict[str, Callable[..., Tensor]] = {
        "brightness": functional.adjust_brightness,
        "colour": functional.adjust_saturation,
        "contrast": functional.adjust_contrast,
        "sharpness": functional.adjust_sharpness,
    }
    if name in factors:
        return factors[name](image, 1 + magnitude)
    if name == "posterize":
        changed: Tensor = functional.posterize(image, int(magnitude))
    elif name == "solarize":
        changed = functional.solarize(image, 255 * magnitude)
    elif name == "auto_contrast":
        changed = functional.autocontrast(image)
    else:
        changed = functional.equalize(image)
    return changed


def _drawn_ops(drawn: NDArray, strength: int) -> list[tuple[int, tuple[str, float]]]:
    """Return (place, (operation, magnitude)) of every operation, those of a sample in order."""
    count = drawn.shape[1] // 2
    found = []
    for place, numbers in enumerate(drawn.tolist()):
        for chosen, sign in zip(numbers[:count], numbers[count:], strict=True):
            name = RANDOM_OPS[int(chosen * len(RANDOM_OPS))]
            found.append((place, (name, _magnitude(name, strength, sign < 0.5))))
    return found


def _magnitude(name: str, strength: int, negative: bool) -> float:
    share = strength / STRENGTHS
    if name in _SIGNED:
        return (-1 if negative else 1) * share * _SIGNED[name]
    # Bits that are kept, and the value from which colours are inverted.
    return {"posterize": round(8 - 4 * share), "solarize": 1 - share}.get(name, 0.0)


def _moved(maps: Tensor, name: str, magnitude: float, fill: float, smooth: bool) -> Tensor:
    """Return maps [H, W] or [C, H, W] of one image, moved."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    height, width = maps.shape[-2:]
    given: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    if name == "rotate":
        given["angle"] = -magnitude
    elif name.startswith("shear"):
        given["shear"][name == "shear_y"] = math.degrees(math.atan(magnitude))
        given["center"] = [0, 0]
    else:
        side = width if name == "translate_x" else height
        given["translate"][name == "translate_y"] = int(magnitude * side)
    mode = InterpolationMode.BILINEAR if smooth else InterpolationMode.NEAREST
    flat = maps.reshape(-1, height, width)
    exact = flat if flat.is_floating_point() else flat.to(torch.float32)
    result = functional.affine(exact, **given, interpolation=mode, fill=[float(fill)])
    return result.to(maps.dtype).reshape(maps.shape)
