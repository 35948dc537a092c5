"""From stored images to the views that a step of training takes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.augmentation.colour import jitter_colours
from wsss_core.augmentation.cut_mix import cut_boxes, paste_boxes
from wsss_core.augmentation.passes import ImagePass
from wsss_core.augmentation.random_ops import random_colours, random_moves
from wsss_core.augmentation.rescaling import rescale_and_crop
from wsss_core.augmentation.sample import ImageViews, Stored
from wsss_core.augmentation.settings import AugmentationSettings

Load = Callable[[NDArray[np.intp]], Stored]
"""Reads images by their numbers."""


def sample_views(
    settings: AugmentationSettings,
    drawn: ImagePass,
    load: Load,
    places: NDArray[np.intp],
    batch: NDArray[np.intp],
    device: str,
) -> ImageViews:
    """Return the views of some places of a batch.

    The view of a place depends on the batch it is of (CutMix takes the other image from there) and
    not on which other places are asked for at the same time.

    Args:
        settings: what is done.
        drawn: the numbers of the pass.
        load: reads the stored images.
        places: intp [B] in the pass.
        batch: intp [B'], the places of the whole batch, `places` among them.
        device: where the views are made.

    """
    sample = _alone(settings, drawn, load, places, device)
    if settings.cutmix is None or len(batch) < 2:
        return sample
    numbers = drawn.drawn["cutmix"][places]
    chosen = np.flatnonzero(numbers[:, 0] < settings.cutmix)
    if not chosen.size:
        return sample
    numbers = numbers[chosen]
    # Any place of the batch but its own.
    ahead = 1 + (numbers[:, 1] * (len(batch) - 1)).astype(np.intp)
    own = np.searchsorted(batch, places[chosen])
    partners = (own + ahead) % len(batch)
    if np.array_equal(places, batch):
        others = sample.at(torch.from_numpy(partners).to(device))
    else:
        others = _alone(settings, drawn, load, batch[partners], device)
    size = (sample.images.shape[-2], sample.images.shape[-1])
    if others.valid is not None:
        sample = sample.with_valid()
    at = torch.from_numpy(chosen).to(device)
    mixed = paste_boxes(sample.at(at), others, cut_boxes(numbers[:, 2:], size))
    return sample.with_others(at, mixed)


def _alone(
    settings: AugmentationSettings,
    drawn: ImagePass,
    load: Load,
    places: NDArray[np.intp],
    device: str,
) -> ImageViews:
    """Return views of single images, as they are before two of them are mixed."""
    stored = load(drawn.order[places])
    numbers = {option: values[places] for option, values in drawn.drawn.items()}
    images = None
    if settings.randaugment is not None:
        strength = settings.randaugment[1]
        pixels = torch.from_numpy(np.array(stored.images)).to(device).permute(0, 3, 1, 2)
        images = random_colours(pixels, numbers["randaugment"], strength).float().div_(255)
    sample = ImageViews.of_stored(stored, device, images)
    if settings.jitter is not None:
        images = jitter_colours(sample.images, numbers["jitter"], settings.jitter)
        sample = sample._replace(images=images)
    if settings.randaugment is not None:
        sample = random_moves(sample, numbers["randaugment"], settings.randaugment[1])
    if drawn.flipped is not None and (flipped := drawn.flipped[places]).any():
        sample = sample.mirrored(flipped)
    if settings.rescale is not None:
        sample = rescale_and_crop(sample, numbers["rescale"], settings.rescale)
    return sample
