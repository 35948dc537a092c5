"""pytorch-grad-cam and torchcam on a whole timm model, as their documentation says to use them.

pytorch-grad-cam: the target layer that its README names for a kind of network where there is one
(`layer4[-1]`, `features[-1]`, `blocks[-1].norm1` with its ViT transform,
`layers[-1].blocks[-1].norm1` with its Swin transform, each told the model's grid), else the best
guess of a user (the last of `stages`, `blocks`, `layers` or `levels`, or the last child before
pooling). torchcam: no layer is given, it looks for one.

A peer is right if its map is not empty, its layer comes late in the network, and what it took for
a map [B, C, h, w] is one: it changes where the image changes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from backbone_checks.models import OPTIONS
from backbone_checks.places import completed_order, place_shown, random_images, sizes_of
from backbone_checks.reporting import Outcome, in_a_line, versions

PEERS = {"pgc": "grad-cam", "tc_grad": "torchcam", "tc_cam": "torchcam"}
"""A column and the package that fills it."""

CLASSES = 10
LATE = 0.5
"""A layer before this part of the network's modules is an early one."""


def check_peers(name: str, report: Callable[[str, Callable[[], Outcome]], Any]) -> None:
    """Report each peer's outcome on a model of timm."""
    built = whole_model(name)
    if isinstance(built, str):
        for column in PEERS:
            report(column, partial(Outcome, "model refuses", built))
        return
    model, size = built
    there = versions()
    for column, package in PEERS.items():
        if there[package] is None:
            report(column, partial(Outcome, "not installed", package))
        else:
            report(column, partial(_CHECKS[column], model, size))


def whole_model(name: str) -> tuple[nn.Module, int] | str:
    """The whole model with its own head, and the first size that it takes; or why there is none."""
    said = ""
    for size in sizes_of(name):
        for sized in ({"img_size": size}, {}):
            arguments = {**OPTIONS.get(name, {}), **sized}
            torch.manual_seed(0)
            try:
                model: nn.Module = timm.create_model(name, num_classes=CLASSES, **arguments)
                with torch.no_grad():
                    model.eval()(random_images(size))
            except Exception as error:
                said = in_a_line(error)
            else:
                return model, size
    return said


def _pytorch_grad_cam(model: nn.Module, size: int) -> Outcome:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    try:
        layer, transform = _their_recipe(model)
        with GradCAM(model, [layer], transform) as cam:
            images = random_images(size, 1)
            maps = (cam(images, [ClassifierOutputTarget(k)]) for k in range(CLASSES))
            empty = not any(abs(one).max() > 0 for one in maps)

            def read(images: Tensor) -> Tensor:
                cam(images, [ClassifierOutputTarget(0)] * len(images))
                return cam.activations_and_grads.activations[0]

            return _judged(model, layer, read, size, empty)
    except Exception as error:
        return Outcome("error", in_a_line(error))


def _their_recipe(model: Any) -> tuple[nn.Module, Callable[[Tensor], Tensor] | None]:
    """The layer and transform of the README, or a user's guess."""
    from pytorch_grad_cam.utils.reshape_transforms import (
        swinT_reshape_transform,
        vit_reshape_transform,
    )

    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    for name in ("layer4", "features"):
        if hasattr(model, name):
            return getattr(model, name)[-1], None
    for name in ("blocks", "layers", "stages", "levels"):
        if not hasattr(model, name):
            continue
        last = getattr(model, name)[-1]
        if name == "blocks" and hasattr(last, "norm1"):
            rows, columns = grid or (14, 14)
            return last.norm1, partial(vit_reshape_transform, height=rows, width=columns)
        if name == "layers" and hasattr(last, "blocks") and hasattr(last.blocks[-1], "norm1"):
            rows, columns = (side // 2 ** (len(model.layers) - 1) for side in grid or (56, 56))
            transform = partial(swinT_reshape_transform, height=rows, width=columns)
            return last.blocks[-1].norm1, transform
        return last, None
    names, children = zip(*model.named_children(), strict=True)
    pooling = names.index("global_pool") if "global_pool" in names else len(names) - 1
    return children[pooling - 1], None


def _torchcam(method: str, model: nn.Module, size: int) -> Outcome:
    from torchcam import methods

    shape = (3, size, size)
    try:
        with getattr(methods, method)(model, input_shape=shape) as cam:
            images = random_images(size, 1)
            maps = (cam(k, model(images), normalized=False)[0] for k in range(CLASSES))
            empty = not any(one.abs().max() > 0 for one in maps)
            layer = cam.submodule_dict[cam.target_names[0]]

            def read(images: Tensor) -> Tensor:
                model(images)
                return cam.hook_a[0]

            return _judged(model, layer, read, size, empty, cam.target_names[0])
    except Exception as error:
        return Outcome("error", in_a_line(error))


def _judged(
    model: nn.Module,
    layer: nn.Module,
    read: Callable[[Tensor], Tensor],
    size: int,
    empty: bool,
    name: str | None = None,
) -> Outcome:
    """Judge what a peer took for a map, read off its own hook."""
    name = name or next(n for n, m in model.named_modules() if m is layer)
    images = random_images(size)
    with torch.enable_grad():
        shape = list(read(images).shape)
    about = f"{name}, {shape}"
    if len(shape) != 4:
        return Outcome("wrong", f"{about}: not a map")
    if empty:
        return Outcome("wrong", f"{about}: empty for each of {CLASSES} classes")
    with torch.no_grad():
        order = completed_order(model, lambda: model(images))
    position = next(n for n, module in enumerate(order) if module is layer)
    if position < LATE * len(order):
        return Outcome("wrong", f"{about}: an early layer")

    def with_gradient(images: Tensor) -> Tensor:
        with torch.enable_grad():
            return read(images).detach().clone()

    place = place_shown(with_gradient, size)
    if place == "wrong":
        return Outcome("wrong", f"{about}: its axes are not rows and columns")
    return Outcome(place, about)


_CHECKS = {
    "pgc": _pytorch_grad_cam,
    "tc_grad": partial(_torchcam, "GradCAM"),
    "tc_cam": partial(_torchcam, "CAM"),
}
