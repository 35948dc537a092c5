"""The decoders of AFA and of ToCo: SegFormer's all-MLP decoder, and DeepLab's LargeFOV.

Both take maps of any encoder. Widths and dilations are those of the authors' code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsss_core.segmentation.heads.setr import check_widths, convolution
from wsss_core.segmentation.segmenter import resized


class AllMlp(nn.Module):
    """SegFormer's decoder (Xie et al., NeurIPS 2021, arXiv 2105.15203, equation 4), as AFA has it.

    Each map goes through a linear layer. All are enlarged to the finest one, joined, and mixed by a
    1x1 convolution with BatchNorm and ReLU before the classifier.

    Args:
        channels: C of each map.
        classes: K, without the background.
        width: channels of each level and after they are mixed.
        dropout: share of the channels before the classifier that are dropped in training.

    """

    def __init__(
        self, channels: Sequence[int], classes: int, *, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_widths(width=width)
        self.levels = nn.ModuleList(nn.Conv2d(one, width, 1) for one in channels)
        self.mix = convolution(len(channels) * width, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, h, w] of maps [B, C, h', w'], at the size of the largest."""
        height = max(int(one.shape[-2]) for one in maps)
        width = max(int(one.shape[-1]) for one in maps)
        levels = [
            resized(level(one), (height, width))
            for level, one in zip(self.levels, maps, strict=True)
        ]
        logits: Tensor = self.classifier(self.dropout(self.mix(torch.cat(levels, 1))))
        return logits


class LargeFov(nn.Module):
    """Two dilated 3x3 convolutions and a classifier (Chen et al., DeepLab), as in ToCo and DuPL.

    Args:
        channels: C of the last map, and of others that are not looked at.
        classes: K, without the background.
        width: channels of the two layers.
        dilation: of their kernels.

    """

    def __init__(
        self, channels: Sequence[int], classes: int, *, width: int = 512, dilation: int = 5
    ) -> None:
        super().__init__()
        check_widths(width=width, dilation=dilation)
        self.layers = nn.Sequential(
            nn.Conv2d(channels[-1], width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, h, w] of the last map [B, C, h, w]."""
        logits: Tensor = self.classifier(self.layers(maps[-1]))
        return logits
