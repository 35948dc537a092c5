"""The heads of SETR (Zheng et al., CVPR 2021, arXiv 2012.15840, section 3.3) on maps of a ViT.

Where paper and the authors' code in mmsegmentation differ, `SetrNaive` and `SetrPup` follow the
paper in their width of 256 channels and `SetrMla` the code. Maps of any patch size are taken. With
a patch of 16, PUP's four doublings end at the image's size; with 14 they end above it, and the
logits are resized.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.errors import InputError


def convolution(inner: int, outer: int, kernel: int) -> nn.Sequential:
    """Return a convolution of unchanged size without bias, BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Return maps [B, C, h, w] with sides `factor` times as long, bilinear."""
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


class SetrNaive(nn.Module):
    """1x1 convolutions at the ViT's own resolution; the caller enlarges the logits at once.

    Args:
        channels: C of the map.
        classes: K, without the background.
        width: channels of the layers.
        layers: how many 1x1 convolutions with BatchNorm and ReLU precede the classifier.

    """

    def __init__(self, channels: int, classes: int, *, width: int = 256, layers: int = 1) -> None:
        super().__init__()
        check_widths(width=width, layers=layers)
        sizes = [channels] + [width] * layers
        self.layers = nn.Sequential(
            *(convolution(inner, outer, 1) for inner, outer in pairwise(sizes))
        )
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, h, w] of the last map [B, C, h, w]."""
        logits: Tensor = self.classifier(self.layers(maps[-1]))
        return logits


class SetrPup(nn.Module):
    """Progressive upsampling: four times a 3x3 convolution and a doubling of the resolution.

    Args:
        channels: C of the map.
        classes: K, without the background.
        width: channels of the layers.
        layers: how many there are.

    """

    def __init__(self, channels: int, classes: int, *, width: int = 256, layers: int = 4) -> None:
        super().__init__()
        check_widths(width=width, layers=layers)
        sizes = [channels] + [width] * layers
        self.layers = nn.ModuleList(
            convolution(inner, outer, 3) for inner, outer in pairwise(sizes)
        )
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, 16 h, 16 w] of the last map [B, C, h, w]."""
        one = maps[-1]
        for layer in self.layers:
            one = enlarged(layer(one), 2)
        logits: Tensor = self.classifier(one)
        return logits


class SetrMla(nn.Module):
    """Multi-level aggregation: four blocks' maps, added from the last to the first, then joined.

    Each map goes through a 1x1 convolution; the sums with the later ones through a 3x3 convolution;
    each of these through two more and an enlargement by four. The classifier sees all four.

    Args:
        channels: C of the maps.
        classes: K, without the background.
        neck: channels after the 1x1 convolution.
        width: channels of each level when they are joined.

    """

    def __init__(self, channels: int, classes: int, *, neck: int = 256, width: int = 128) -> None:
        super().__init__()
        check_widths(neck=neck, width=width)
        levels = range(4)
        self.reduce = nn.ModuleList(convolution(channels, neck, 1) for _ in levels)
        self.smooth = nn.ModuleList(convolution(neck, neck, 3) for _ in levels)
        self.level_heads = nn.ModuleList(
            nn.Sequential(convolution(neck, width, 3), convolution(width, width, 3)) for _ in levels
        )
        self.classifier = nn.Conv2d(4 * width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, 4 h, 4 w] of four maps [B, C, h, w], the first block first."""
        reduced = [layer(one) for layer, one in zip(self.reduce, maps, strict=True)]
        total, levels = torch.zeros_like(reduced[-1]), []
        for number in reversed(range(4)):
            total = total + reduced[number]
            level = self.level_heads[number](self.smooth[number](total))
            levels.append(enlarged(level, 4))
        logits: Tensor = self.classifier(torch.cat(levels[::-1], 1))
        return logits


class FcnHead(nn.Module):
    """A 3x3 convolution and a classifier: the auxiliary head of SETR-MLA.

    Args:
        channels: C of the map.
        classes: K, without the background.
        width: channels between the two.

    """

    def __init__(self, channels: int, classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.layers = convolution(channels, width, 3)
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, h, w] of the last map [B, C, h, w]."""
        logits: Tensor = self.classifier(self.layers(maps[-1]))
        return logits


def check_widths(**widths: int) -> None:
    """Raise InputError unless all are whole numbers of 1 or more."""
    for name, value in widths.items():
        if type(value) is not int or value < 1:
            raise InputError(f"{name}: expected a whole number, 1 or more, got {value!r}")
