"""The decoder of WeCLIP (CVPR 2024): the maps of all layers of an encoder, fused by a transformer.

Each layer's map goes through an MLP of its own; all are joined and mixed by a 1x1 convolution;
transformer layers over the locations and a classifier follow. Sizes are those of the authors' code.
Its transformer has no position embedding, as its tokens have the encoder's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsss_core.errors import InputError
from wsss_core.segmentation.heads.setr import check_widths
from wsss_core.segmentation.segmenter import resized


class FusedLayers(nn.Module):
    """An MLP for each layer's map, a 1x1 convolution over all, transformer layers, a classifier.

    Args:
        channels: C of each map.
        classes: K, without the background.
        width: channels of each level and of the transformer.
        layers: of the transformer, 0 or more.
        heads: of its attention; they divide the width.
        dropout: share of channels that are dropped before the transformer in training.

    Raises:
        InputError: heads that do not divide the width.

    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        *,
        width: int = 256,
        layers: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_widths(width=width, heads=heads)
        if width % heads:
            raise InputError(f"heads: expected a divisor of the width {width}, got {heads}")
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(one, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)
            )
            for one in channels
        )
        self.mix = nn.Conv2d(len(channels) * width, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.transformer = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(layers)
        )
        self.classifier = nn.Conv2d(width, classes + 1, 1)

    def fused(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the joined and mixed maps before the transformer, float [B, width, h, w]."""
        size = (int(maps[-1].shape[-2]), int(maps[-1].shape[-1]))
        levels = [resized(level(one), size) for level, one in zip(self.levels, maps, strict=True)]
        mixed: Tensor = self.mix(torch.cat(levels, 1))
        return mixed

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, h, w] of one map [B, C, h', w'] a layer, the last at h, w."""
        mixed = self.dropout(self.fused(maps))
        tokens = mixed.flatten(2).transpose(1, 2)
        for layer in self.transformer:
            tokens = layer(tokens)
        logits: Tensor = self.classifier(tokens.transpose(1, 2).unflatten(2, mixed.shape[-2:]))
        return logits
