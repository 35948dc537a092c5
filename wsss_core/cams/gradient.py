"""Grad-CAM and LayerCAM: what a logit's gradient says of a layer's channels.

Grad-CAM: Selvaraju et al., ICCV 2017 (arXiv 1610.02391), eq. 1 and 2. LayerCAM: Jiang et al., IEEE
Transactions on Image Processing 2021 (doi 10.1109/TIP.2021.3089943), eq. 6 to 8.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.backbones import Layer, Network
from wsss_core.cams.restoring import captured, frozen
from wsss_core.errors import InputError


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return ReLU(sum_c w_c A_c), where w_c is the spatial mean of the gradient.

    Args:
        activation: float [B, C, h, w].
        gradient: float [B, C, h, w], of one class's logit.

    Returns:
        float [B, h, w], not negative, not normalised.

    Raises:
        InputError: shapes other than these, or not the same.

    """
    _check_pair(activation, gradient)
    weights = gradient.mean((-2, -1))
    return F.relu(torch.einsum("bchw,bc->bhw", activation, weights))


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return ReLU(sum_c ReLU(G_c) A_c): a location weighs channels by its own gradient.

    Arguments, result and errors are those of `grad_cam`.
    """
    _check_pair(activation, gradient)
    return F.relu((F.relu(gradient) * activation).sum(1))


def _check_pair(activation: Tensor, gradient: Tensor) -> None:
    if activation.ndim != 4 or activation.shape != gradient.shape:
        raise InputError(
            "activation and gradient: expected [B, C, h, w] both, got "
            f"{list(activation.shape)} and {list(gradient.shape)}"
        )


GRADIENT_METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": grad_cam,
    "layer_cam": layer_cam,
}


def gradient_cams(
    network: Network,
    images: Tensor,
    layers: Sequence[Layer],
    combine: Callable[[Tensor, Tensor], Tensor] = grad_cam,
) -> tuple[list[Tensor], Tensor]:
    """Return maps of every class at each of several layers, from one forward pass.

    The parameters get no gradient. The network's mode is left to the caller: with BatchNorm in
    training mode, a map depends on the other images of its batch.

    Args:
        network: one with an encoder of this package.
        images: float [B, 3, H, W], RGB in 0..1.
        layers: a plain ViT's blocks by number (their norm1), or stages by timm's name or number;
            the last stage stands for the network's own map.
        combine: `grad_cam`, `layer_cam` or another function of activation and gradient.

    Returns:
        For each layer float [B, K, h, w], not normalised, at the layer's own grid; and the logits,
        float [B, K].

    Raises:
        InputError: no such layer, or one the logits do not depend on.

    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(network):
        points = network.encoder.points(layers, images)
        with captured(points) as found:
            logits = network(images).logits
        if len(found) < len(points) or not logits.requires_grad:
            raise InputError(f"layers {list(layers)}: the network's logits do not depend on them")
        tensors = [found[position] for position in range(len(points))]

        def as_map(position: int, tensor: Tensor) -> Tensor:
            return points[position].layout.as_map(tensor, images.shape[-2], images.shape[-1])

        maps: list[list[Tensor]] = [[] for _ in layers]
        activations = [as_map(position, one.detach()) for position, one in enumerate(tensors)]
        for k in range(logits.shape[1]):
            gradients = torch.autograd.grad(
                logits[:, k].sum(),
                tensors,
                retain_graph=k + 1 < logits.shape[1],
                allow_unused=True,
            )
            for position, gradient in enumerate(gradients):
                if gradient is None:
                    raise InputError(
                        f"layer {layers[position]!r}: the network's logits do not depend on it"
                    )
                maps[position].append(combine(activations[position], as_map(position, gradient)))
    return [torch.stack(one, dim=1) for one in maps], logits.detach()
