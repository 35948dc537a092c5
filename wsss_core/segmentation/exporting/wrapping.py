"""A segmenter with its preprocessing inside: from stored pixels to classes."""

from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.errors import InputError
from wsss_core.segmentation.sam import SamSegmenter
from wsss_core.segmentation.segmenter import Segmenter
from wsss_core.segmentation.settings import Architecture


class PixelSegmenter(nn.Module):
    """A segmenter that takes pixels as image files hold them.

    Args:
        segmenter: in evaluation mode.

    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return classes and probabilities.

        Args:
            pixels: uint8 [B, S, S, 3], RGB.

        Returns:
            uint8 [B, S, S], 0 for the background and k + 1 for class k; and float32
            [B, K + 1, S, S], the background first.

        """
        images = pixels.permute(0, 3, 1, 2).float() / 255
        probabilities = self.segmenter(images).float().softmax(1)
        return probabilities.argmax(1).to(torch.uint8), probabilities


def check_exportable(segmenter: Segmenter) -> None:
    """Raise InputError unless a segmenter is of a kind that exports hold whole."""
    if isinstance(segmenter, SamSegmenter):
        known = ", ".join(name for name in Architecture if name != Architecture.SAM)
        raise InputError(
            f"segmenter sam: SAM and SAM 2 cannot be exported; supported are {known}, and plug-ins "
            "that torch can trace"
        )
    if segmenter.image_size < 1:
        raise InputError("segmenter: does not say its image size; expected one of build_segmenter")


def facts_of(segmenter: Segmenter) -> dict[str, Any]:
    """Return what a reader of an exported file has to know, as plain values."""
    settings = segmenter.settings
    return {
        "model": "" if settings is None else settings.model,
        "encoder": "" if settings is None else settings.encoder,
        "image_size": segmenter.image_size,
        "classes": ["background", *segmenter.names],
        "input": "uint8 [N, S, S, 3], RGB, resized to S x S by Pillow's bilinear filter",
        "outputs": "mask uint8 [N, S, S]; probabilities float32 [N, classes, S, S]",
    }
