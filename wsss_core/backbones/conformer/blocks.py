"""The blocks of a Conformer's branches: a bottleneck of convolutions and a transformer block."""

from typing import Any

import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

EPSILON = 1e-6
"""Of BatchNorm and LayerNorm within blocks; the stem and the last norm have PyTorch's own."""

EXPANSION = 4
"""How many times fewer channels the middle of a bottleneck has."""


class Bottleneck(nn.Module):
    """A residual block of convolutions 1x1, 3x3, 1x1, each with BatchNorm and ReLU.

    Args:
        channels: of the input.
        out_channels: of the output; the middle has a quarter of them.
        stride: of the 3x3 convolution.
        project: whether the residual goes through a convolution 1x1 of the same stride.

    """

    def __init__(
        self, channels: int, out_channels: int, stride: int = 1, *, project: bool = False
    ) -> None:
        super().__init__()
        middle = out_channels // EXPANSION
        self.conv1 = nn.Conv2d(channels, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle, EPSILON)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle, EPSILON)
        self.conv3 = nn.Conv2d(middle, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels, EPSILON)
        self.residual_conv: nn.Module | None = None
        self.residual_bn: nn.Module | None = None
        if project:
            self.residual_conv = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
            self.residual_bn = nn.BatchNorm2d(out_channels, EPSILON)

    def forward(self, maps: Tensor, added: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the output [B, C', h', w'] and the middle after its 3x3, [B, C' / 4, h', w'].

        Args:
            maps: float [B, C, h, w].
            added: float [B, C' / 4, h, w], added to the input of the 3x3 convolution.

        """
        middle = F.relu(self.bn1(self.conv1(maps)))
        middle = middle if added is None else middle + added
        middle = F.relu(self.bn2(self.conv2(middle)))
        residual = maps
        if self.residual_conv is not None and self.residual_bn is not None:
            residual = self.residual_bn(self.residual_conv(maps))
        return F.relu(self.bn3(self.conv3(middle)) + residual), middle


class Attending(nn.Module):
    """Multi-head self-attention between all tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, heard: list[Tensor] | None = None) -> Tensor:
        """Return tokens float [B, L, C] after attention.

        Args:
            tokens: float [B, L, C].
            heard: gets the mean of the weights over heads, float [B, L, L], whose rows sum to 1.

        """
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        if heard is not None:
            products = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
            heard.append(products.softmax(-1).mean(1))
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each after LayerNorm and with a residual."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.attn = Attending(dim, heads)
        self.norm2 = nn.LayerNorm(dim, EPSILON)
        perceptron: Any = Mlp
        self.mlp = perceptron(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, tokens: Tensor, heard: list[Tensor] | None = None) -> Tensor:
        """Return tokens float [B, L, C] after the block; `heard` as `Attending` takes it."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), heard))
        after: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return after
