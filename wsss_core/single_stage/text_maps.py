"""CAMs from CLIP's text, in the middle of a training: Grad-CAM, moved along the attention.

Zhang et al., "Frozen CLIP: A Strong Backbone for Weakly Supervised Semantic Segmentation" (WeCLIP),
CVPR 2024 (arXiv 2406.11189), sections 3.3 and 3.4, after Lin et al., CVPR 2023 (arXiv 2212.09506),
section 3.3, with the numbers of the authors' code.

1. Grad-CAM at the first norm of the last block, of the softmax of a class among the classes that
   the image holds and the background sentences.
2. The mean over heads and the last blocks of the attention between patches becomes nearly doubly
   stochastic by rounds of Sinkhorn's normalisation, then symmetric, then it is squared. Scores
   inside boxes around what a map scores highly move along it once.
3. Later in a training, blocks whose attention lies further from the decoder's own affinity than the
   mean block do not count, and the mean of the others is multiplied by the affinity.
"""

from typing import Any

import torch
from scipy import ndimage
from torch import Tensor

from wsss_core.backbones import evaluating
from wsss_core.backbones.attending import listening
from wsss_core.cams import captured, grad_cam
from wsss_core.segmentation import resized
from wsss_core.single_stage.affinity import last_blocks
from wsss_core.single_stage.class_maps import MapsOnTheFly, scaled_to_unit
from wsss_core.single_stage.settings import SingleStageSettings
from wsss_core.single_stage.text_network import TextNetwork


def text_class_maps(
    network: TextNetwork,
    images: Tensor,
    present: Tensor,
    settings: SingleStageSettings,
    *,
    valid: Tensor | None = None,
    decoder_affinity: Tensor | None = None,
) -> MapsOnTheFly:
    """Return the CAMs of a batch; no parameter gets a gradient.

    Args:
        network: the frozen CLIP.
        images: float [B, 3, H, W] in 0..1.
        present: bool [B, K], the classes that each image holds; the maps of others are 0.
        settings: of the recipe.
        valid: float [B, 1, H, W], 0 on padding.
        decoder_affinity: float [B, L, L] in 0..1, which chooses among the attention of blocks;
            None: all count alike.

    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    raw, attention = gradient_text_maps(network, images, present, settings, valid)
    with torch.no_grad():
        if decoder_affinity is None:
            between = attention.mean(1)
        else:
            between = chosen_attention(attention, decoder_affinity.float())
        moved = doubly_stochastic(between, settings.sinkhorn_rounds)
        unit = scaled_to_unit(raw)
        inside = in_boxes(unit, settings.box_threshold)
        refined = torch.einsum("bij,bkj->bki", moved, (unit * inside).flatten(2))
        maps = scaled_to_unit(refined.unflatten(2, raw.shape[-2:]))
        maps = maps * present[:, :, None, None]
    grid = (int(raw.shape[-2]), int(raw.shape[-1]))
    return MapsOnTheFly(resized(maps, size), None, grid)


def gradient_text_maps(
    network: TextNetwork,
    images: Tensor,
    present: Tensor,
    settings: SingleStageSettings,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return Grad-CAMs float [B, K, h, w] and the attention float [B, blocks, L, L] of a batch.

    The gradient is that of the log-odds, which is the softmax's up to a factor for each image and
    class: a softmax near 1 has a gradient near 0, which rounding would spoil.
    """
    encoder: Any = network.encoder
    height, width = int(images.shape[-2]), int(images.shape[-1])
    (point,) = encoder.points([-1], images)
    with (
        evaluating(network),
        torch.enable_grad(),
        torch.autocast(images.device.type, enabled=False),
        captured([point]) as found,
        listening(encoder) as heard,
    ):
        answer = network.answers(images.float(), (), valid)
        odds = log_odds(answer.classes, answer.rivals, present)
        activation = point.layout.as_map(found[0].detach(), height, width)
        maps = activation.new_zeros(len(images), network.classes, *activation.shape[-2:])
        asked = [k for k in range(network.classes) if bool(present[:, k].any())]
        for k in asked:
            (gradient,) = torch.autograd.grad(
                odds[present[:, k], k].sum(), found[0], retain_graph=k != asked[-1]
            )
            maps[:, k] = grad_cam(activation, point.layout.as_map(gradient, height, width))
    prefix = int(encoder.vit.num_prefix_tokens)
    blocks = last_blocks(heard, settings.attention_blocks)
    attention = torch.stack([one.between(prefix).detach().mean(1) for one in blocks], 1)
    return maps.detach(), attention


def log_odds(classes: Tensor, rivals: Tensor, present: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of each class in the softmax with what else may be in the image.

    Args:
        classes: float [B, K], logits of the classes.
        rivals: float [B, R], logits of the background sentences.
        present: bool [B, K]; only these are in the softmax.

    Returns:
        float [B, K]; of classes that are not present it means nothing.

    """
    inside = classes.masked_fill(~present, -torch.inf)
    own = torch.eye(classes.shape[1], dtype=torch.bool, device=classes.device)
    others = inside[:, None].masked_fill(own, -torch.inf)
    everything = torch.cat([others, rivals[:, None].expand(-1, classes.shape[1], -1)], 2)
    return classes - everything.logsumexp(2)


def chosen_attention(attention: Tensor, affinity: Tensor) -> Tensor:
    """Return the mean of the blocks whose attention is near an affinity, times the affinity.

    Args:
        attention: float [B, n, L, L] of n blocks.
        affinity: float [B, L, L] in 0..1. A block counts if the sum of its absolute differences
            from it is no larger than the mean of all blocks' sums.

    """
    far = (attention - affinity[:, None]).abs().sum((2, 3))
    near = (far <= far.mean(1, keepdim=True)).float()[:, :, None, None]
    return (attention * near).sum(1) / near.sum(1) * affinity


def doubly_stochastic(attention: Tensor, rounds: int) -> Tensor:
    """Return attention after rounds of Sinkhorn's normalisation, made symmetric, and squared.

    A round divides columns by their sums, then rows.

    Args:
        attention: float [B, L, L], positive.
        rounds: 1 or more.

    """
    for _ in range(rounds):
        attention = attention / attention.sum(1, keepdim=True)
        attention = attention / attention.sum(2, keepdim=True)
    symmetric = (attention + attention.transpose(1, 2)) / 2
    return symmetric @ symmetric


def in_boxes(maps: Tensor, threshold: float) -> Tensor:
    """Return which cells lie in a box around a connected part above a share of the map's maximum.

    Args:
        maps: float [B, K, h, w], not negative.
        threshold: the share, 0..1. Cells that touch at corners are connected.

    Returns:
        bool [B, K, h, w].

    """
    above = (maps > threshold * maps.amax((-2, -1), keepdim=True)).cpu().numpy()
    found = torch.zeros(maps.shape, dtype=torch.bool)
    for image, classes in enumerate(above):
        for k, one in enumerate(classes):
            parts, _ = ndimage.label(one, structure=[[1] * 3] * 3)
            for box in ndimage.find_objects(parts):
                found[image, k][box] = True
    return found.to(maps.device)
