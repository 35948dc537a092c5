"""A timm CNN or ViT as one thing: image -> feature maps, class activation maps, logits."""

from wsss_core.backbones.network import Network, Output, build_network, check_backbone_name
from wsss_core.backbones.weights import load_weights, read_weights

__all__ = [
    "Network",
    "Output",
    "build_network",
    "check_backbone_name",
    "load_weights",
    "read_weights",
]
