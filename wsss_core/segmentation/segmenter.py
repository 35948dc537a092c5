"""What every segmenter is: a module from images to the logits of each pixel."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.errors import InputError
from wsss_core.segmentation.settings import SegmenterSettings


class SegmenterOutput(NamedTuple):
    """A segmenter's answer for B images while it is trained.

    Attributes:
        logits: float [B, K + 1, H, W], the background first, at the images' size.
        auxiliary: logits of the same shape, of each auxiliary head.

    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class Segmenter(nn.Module):
    """A module that turns images float [B, 3, H, W], RGB in 0..1, into logits [B, K + 1, H, W].

    Args:
        classes: K, without the background.

    Attributes:
        size_multiple: the images' height and width have to be multiples of it.
        settings: what it was built from; None: it was put together by hand.
        image_size: side of the images in pixels that it was built for.
        class_names: the names of the K classes, which a saved file holds; () where nobody said.

    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.size_multiple = 1
        self.settings: SegmenterSettings | None = None
        self.image_size = 0
        self.class_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K classes, made up where nobody said them."""
        made_up = tuple(f"class {code}" for code in range(1, self.classes + 1))
        return self.class_names or (made_up if self.classes > 1 else ("object",))

    def with_auxiliary(self, images: Tensor) -> SegmenterOutput:
        """Return the logits and those of auxiliary heads, which training alone asks for."""
        return SegmenterOutput(self(images))

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that learn at the head's rate; the others are the encoder's."""
        raise NotImplementedError

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the other trainable parameters."""
        heads = {id(parameter) for parameter in self.head_parameters()}
        for parameter in self.parameters():
            if parameter.requires_grad and id(parameter) not in heads:
                yield parameter

    def check_size(self, images: Tensor) -> None:
        """Raise InputError unless height and width are multiples of `size_multiple`."""
        check_multiple(type(self).__name__, tuple(images.shape[-2:]), self.size_multiple)


class NormalisedSegmenter(Segmenter):
    """A segmenter that normalises images with the mean and std of its encoder's weights.

    Args:
        classes: K, without the background.
        mean: subtracted from each RGB channel of images in 0..1.
        std: divides each RGB channel then.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, mean: Any, std: Any) -> None:
        super().__init__(classes)
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.as_tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
            self.register_buffer(name, buffer.clone(), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Return the images as the encoder takes them; InputError for a size it cannot take."""
        self.check_size(images)
        return (images - self.mean) / self.std


def check_multiple(name: str, size: tuple[int, ...], multiple: int) -> None:
    """Raise InputError unless a height and a width are multiples of a number."""
    wrong = [side for side in size if side % multiple]
    if wrong:
        below = wrong[0] // multiple * multiple
        nearest = f"{below} or {below + multiple}" if below else str(multiple)
        raise InputError(
            f"{name} takes images whose sides are multiples of {multiple} px, got {wrong[0]}; the "
            f"nearest is {nearest}"
        )


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps [B, C, h, w] at another height and width, bilinear between pixel centres."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
