"""Class-weight CAMs of a frozen encoder's maps: the neck, the head, and what merges views."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_core.backbones import Network, cell_side, evaluating
from wsss_core.cams import (
    CamSettings,
    RawScores,
    merged_views,
    over_image,
    view_sides,
)
from wsss_core.out_of_memory import in_batches

CamView = tuple[int, bool]
"""The side in pixels that images are resized to, and whether they are mirrored then."""


def cam_views(network: Network, size: int, settings: CamSettings) -> list[CamView]:
    """Return the views that CAMs are made of, the plain one first.

    Args:
        network: its patch decides how sides are rounded.
        size: the side of the images in pixels.
        settings: their scales and flip count.

    """
    sides = view_sides(network, size, settings)
    views = [(side, mirrored) for side in sides for mirrored in _mirrorings(settings)]
    return list(dict.fromkeys([(size, False), *views]))


def cams_from_features(
    network: Network,
    features: Mapping[CamView, np.ndarray],
    size: int,
    settings: CamSettings,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> RawScores:
    """Return class-weight CAMs and logits, see `wsss_core.cams.cams`; no image is looked at.

    Args:
        network: its neck and head are used; it keeps its mode and is on the device.
        features: the encoder's maps in each of `cam_views`, float [N, C, h, w].
        size: the side of the images in pixels.
        settings: of the method class_weight.
        device: where neck and head run.
        batch_size: images a pass; halved where memory runs out.

    """
    network.to(device)
    sides = view_sides(network, size, settings)
    cell = cell_side(network.encoder)

    def at(view: CamView, part: slice) -> tuple[Tensor, Tensor]:
        maps = torch.from_numpy(np.array(features[view][part])).to(device).float()
        answer: Any = network.answer(maps)
        found = over_image(answer.activation_maps, (view[0], view[0]), cell)
        return (found.flip(-1) if view[1] else found), answer.logits

    def of(part: slice, _: int) -> RawScores:
        plain, logits = at((size, False), part)
        grid = (int(plain.shape[-2]), int(plain.shape[-1]))
        views = [
            plain if (side, mirrored) == (size, False) else at((side, mirrored), part)[0]
            for side in sides
            for mirrored in _mirrorings(settings)
        ]
        return RawScores.of(merged_views(views, grid, settings), logits)

    count = len(features[size, False])
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        made = in_batches(of, count, batch_size, device=device, what="CAMs of stored features")
    return RawScores.joined(made)


def _mirrorings(settings: CamSettings) -> tuple[bool, ...]:
    return (False, True) if settings.flip else (False,)
