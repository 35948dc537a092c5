"""The coupling of a Conformer's branches: features go down to the tokens and up to the maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_core.backbones.conformer.blocks import (
    EPSILON,
    EXPANSION,
    Bottleneck,
    TransformerBlock,
)


class Down(nn.Module):
    """From maps to tokens: 1x1 convolution, mean over the pixels of a patch, LayerNorm, GELU."""

    def __init__(self, channels: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv_project = nn.Conv2d(channels, dim, 1)
        self.stride = stride
        self.ln = nn.LayerNorm(dim, EPSILON)

    def forward(self, maps: Tensor, tokens: Tensor) -> Tensor:
        """Return tokens [B, 1 + L, D] of maps [B, C, h, w]; the first is that of `tokens`."""
        pooled = F.avg_pool2d(self.conv_project(maps), self.stride, self.stride)
        patches = F.gelu(self.ln(pooled.flatten(2).transpose(1, 2)))
        return torch.cat([tokens[:, :1], patches], dim=1)


class Up(nn.Module):
    """From tokens to maps: 1x1 convolution, BatchNorm, ReLU, each patch repeated over its pixels.

    The class token is left out.
    """

    def __init__(self, dim: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv_project = nn.Conv2d(dim, channels, 1)
        self.bn = nn.BatchNorm2d(channels, EPSILON)
        self.stride = stride

    def forward(self, tokens: Tensor, rows: int) -> Tensor:
        """Return maps [B, C, rows * stride, w] of tokens [B, 1 + L, D]."""
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, -1))
        maps = F.relu(self.bn(self.conv_project(maps)))
        return F.interpolate(maps, scale_factor=self.stride, mode="nearest")


class CoupledBlock(nn.Module):
    """A block of both branches.

    A bottleneck's middle goes down and is added to the tokens. These go through a transformer block
    and up into the middle of a second bottleneck.

    Args:
        channels: of the maps that come.
        out_channels: of the maps that go.
        stride: of the first bottleneck; above 1 or with other channels its residual is projected.
        patch: pixels of the outgoing maps that a token stands for, along a side.
        dim: of the tokens.
        heads: of the attention.
        mlp_ratio: hidden features of the perceptron in multiples of `dim`.
        drop_path: the share of residuals that training drops.
        last_stride: of the second bottleneck, whose residual then is projected; None: 1 as it is.

    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        stride: int,
        patch: int,
        dim: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
        last_stride: int | None = None,
    ) -> None:
        super().__init__()
        middle = out_channels // EXPANSION
        projects = stride > 1 or channels != out_channels
        self.patch = patch
        self.cnn_block = Bottleneck(channels, out_channels, stride, project=projects)
        self.squeeze_block = Down(middle, dim, patch)
        self.expand_block = Up(dim, middle, patch)
        self.trans_block = TransformerBlock(dim, heads, mlp_ratio, drop_path)
        self.fusion_block = Bottleneck(
            out_channels, out_channels, last_stride or 1, project=last_stride is not None
        )

    def forward(
        self, maps: Tensor, tokens: Tensor, heard: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return maps and tokens after the block; `heard` as `Attending` takes it."""
        maps, middle = self.cnn_block(maps)
        tokens = self.trans_block(tokens + self.squeeze_block(middle, tokens), heard)
        raised = self.expand_block(tokens, middle.shape[-2] // self.patch)
        return self.fusion_block(maps, raised)[0], tokens
