"""A second classifier on an inner layer of a ViT, as ToCo and DuPL have it.

Its CAM is less smooth than the last layer's, whose tokens have become alike, and labels the pairs
of tokens that are contrasted.
"""

import torch
from torch import Tensor, nn

from wsss_core.backbones import Layer, Network


class AuxiliaryClassifier(nn.Module):
    """A linear layer without bias on the tokens of an inner layer, pooled as those of the network.

    Args:
        network: the network.
        layer: which of its layers.

    """

    def __init__(self, network: Network, layer: Layer) -> None:
        super().__init__()
        self.layer, self.pooling = layer, network.pooling
        self.head = nn.Linear(network.channels_at(layer), network.classes, bias=False)

    def maps(self, tokens: Tensor) -> Tensor:
        """Return raw class maps [B, K, h, w] of the layer's map [B, C, h, w]."""
        return torch.einsum("bchw,kc->bkhw", tokens, self.head.weight)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return logits [B, K] of the layer's map [B, C, h, w]."""
        pooled = tokens.amax((-2, -1)) if self.pooling == "max" else tokens.mean((-2, -1))
        found: Tensor = self.head(pooled)
        return found
