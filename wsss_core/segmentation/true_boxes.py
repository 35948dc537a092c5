"""SAM asked with the boxes of true masks: an upper bound, never a row beside others.

Papers that prompt SAM with boxes of the test masks (MedSAM, Ma et al., Nature Communications 2024)
tell it where every object is and how large. Such numbers say what SAM's decoder could do, not what
a method without masks does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.backbones import evaluating
from wsss_core.data import to_input
from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.segmentation.sam import SamSegmenter
from wsss_core.segmentation.segmenter import resized
from wsss_core.segmentation.weighting import count_labels

UPPER_BOUND = "upper bound: prompts are the boxes of the true masks"
"""What stands beside every figure made of such masks."""


@dataclass(frozen=True, eq=False)
class TrueBoxMasks:
    """Label maps that SAM made of the boxes of true masks.

    Attributes:
        masks: uint8 [h, w] of each image, at the size of its true mask.
        label: `UPPER_BOUND`, which tables print beside the figures.

    """

    masks: tuple[NDArray[np.uint8], ...]
    label: str = UPPER_BOUND


@torch.no_grad()
def masks_from_true_boxes(
    segmenter: SamSegmenter,
    images: NDArray[np.uint8],
    truths: Sequence[NDArray[np.uint8]],
    *,
    device: str = "cpu",
) -> TrueBoxMasks:
    """Ask SAM for the object in the box of each true object, and join the answers.

    An object is a region of one class whose pixels touch, corners included. Where objects of two
    classes overlap, the higher logit wins.

    Args:
        segmenter: SAM or SAM 2, fine-tuned or as it was; its single mask answers.
        images: uint8 [N, H, W, 3].
        truths: N true masks uint8 [h, w], 0..K or 255, at any size.
        device: where the segmenter is.

    Raises:
        InputError: not as many masks as images, or a mask with another value.

    """
    if len(images) != len(truths):
        raise InputError(f"{len(truths)} true masks for {len(images)} images")
    made = []
    with evaluating(segmenter):
        for image, truth in zip(images, truths, strict=True):
            count_labels(truth, segmenter.classes)
            made.append(_of_image(segmenter, image, truth, device))
            made_progress()
    return TrueBoxMasks(tuple(made))


def _of_image(
    segmenter: SamSegmenter, image: NDArray[np.uint8], truth: NDArray[np.uint8], device: str
) -> NDArray[np.uint8]:
    values, boxes = _boxes(truth, segmenter.classes)
    labels = np.zeros(truth.shape, np.uint8)
    if not boxes:
        return labels
    inputs = to_input(image[np.newaxis], device)
    height, width = segmenter.fitted(inputs)
    scale = np.array([width / truth.shape[1], height / truth.shape[0]] * 2)
    asked = torch.as_tensor(np.array(boxes) * scale, dtype=torch.float32, device=device)
    found = segmenter.model(
        pixel_values=segmenter.prepared(inputs), input_boxes=asked[None], multimask_output=False
    )
    each = segmenter.at_image_size(found.pred_masks[0, :, 0][None], inputs)
    logits = resized(each, (truth.shape[0], truth.shape[1]))[0].cpu().numpy()  # [objects, h, w]
    best = logits.argmax(axis=0)
    taken = logits.max(axis=0) > 0
    labels[taken] = np.array(values, np.uint8)[best[taken]]
    return labels


def _boxes(
    truth: NDArray[np.uint8], classes: int
) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """Return class and box of each object: first and last column and row, as x, y, x, y."""
    from scipy import ndimage

    values, boxes = [], []
    for value in range(1, classes + 1):
        regions, _ = ndimage.label(truth == value, structure=np.ones((3, 3), int))
        for rows, columns in ndimage.find_objects(regions):
            values.append(value)
            boxes.append((columns.start, rows.start, columns.stop - 1, rows.stop - 1))
    return values, boxes
