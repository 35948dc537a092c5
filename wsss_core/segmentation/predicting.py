"""Predictions of a segmenter at the resolution of each image's mask."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.backbones import evaluating
from wsss_core.data import to_input
from wsss_core.errors import InputError
from wsss_core.out_of_memory import give_back, halved, is_out_of_memory
from wsss_core.progress import made_progress
from wsss_core.segmentation.segmenter import Segmenter, resized


def predict_probabilities(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None = None,
    *,
    batch_size: int = 8,
    device: str = "cpu",
) -> Iterator[NDArray[np.float32]]:
    """Yield the probabilities of each image, float32 [K + 1, h, w], the background first.

    Logits are enlarged bilinearly, then the softmax is taken. One image's map is in memory at a
    time, beside the logits of a batch.

    Args:
        segmenter: on `device`; it is in its own mode again between two images and afterwards.
        images: uint8 [N, H, W, 3], possibly memory-mapped.
        sizes: (h, w) of each image's map; None: the images' own.
        batch_size: images a pass; halved where memory runs out.
        device: where the segmenter is.

    Raises:
        InputError: not as many sizes as images.
        torch.OutOfMemoryError: a single image does not fit.

    """
    for logits in _logits(segmenter, images, sizes, batch_size, device):
        yield logits.softmax(0).cpu().numpy()


def predict_masks(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None = None,
    *,
    batch_size: int = 8,
    device: str = "cpu",
) -> Iterator[NDArray[np.uint8]]:
    """Yield the label map of each image, uint8 [h, w]: the class of the highest probability.

    Of equal ones the first wins, the background before all. See `predict_probabilities`.
    """
    for logits in _logits(segmenter, images, sizes, batch_size, device):
        yield logits.argmax(0).to(torch.uint8).cpu().numpy()


def _logits(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    sizes: Sequence[tuple[int, int]] | None,
    batch_size: int,
    device: str,
) -> Iterator[Tensor]:
    """Yield the logits of each image at its size, float [K + 1, h, w] on the device."""
    if sizes is None:
        sizes = [(images.shape[1], images.shape[2])] * len(images)
    if len(sizes) != len(images):
        raise InputError(f"{len(sizes)} sizes for {len(images)} images")
    done = 0
    while done < len(images):
        part = images[done : done + batch_size]
        try:
            with torch.no_grad(), evaluating(segmenter):
                batch = segmenter(to_input(part, device)).float()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            batch = None
        if batch is None:
            height, width = images.shape[1:3]
            batch_size = halved(len(part), f"predicting masks of {width} x {height} px")
            give_back(device)
            continue
        for logits, size in zip(batch, sizes[done : done + len(part)], strict=True):
            yield resized(logits[None], size)[0]
        done += len(part)
        made_progress()
