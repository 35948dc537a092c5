"""A timm CNN or ViT as one thing: image -> feature maps, class activation maps, logits."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.backbones.building import set_memory_format
    from wsss_core.backbones.cells import (
        cell_side,
        cell_weights,
        cells_span,
        pooled,
        share_the_image,
    )
    from wsss_core.backbones.encoder import Encoder, PatchTokens, evaluating
    from wsss_core.backbones.layout import MapLayout, candidates, tensors_in
    from wsss_core.backbones.mean_and_std import InputNormalisation, normalisation_of_file
    from wsss_core.backbones.names import (
        Layer,
        check_backbone_name,
        check_options,
        encoder_version,
        is_vit,
        normalises_pooled,
        timm_config,
    )
    from wsss_core.backbones.network import Network, Output, build_network
    from wsss_core.backbones.points import CamPoint
    from wsss_core.backbones.pretrained import pretrained_arguments
    from wsss_core.backbones.size_limit import SizeLimit
    from wsss_core.backbones.weights import LoadedWeights, load_weights
    from wsss_core.backbones.weights_file import read_weights
    from wsss_core.backbones.whole_model import WholeModel

__all__ = [
    "CamPoint",
    "Encoder",
    "InputNormalisation",
    "Layer",
    "LoadedWeights",
    "MapLayout",
    "Network",
    "Output",
    "PatchTokens",
    "SizeLimit",
    "WholeModel",
    "build_network",
    "candidates",
    "cell_side",
    "cell_weights",
    "cells_span",
    "check_backbone_name",
    "check_options",
    "encoder_version",
    "evaluating",
    "is_vit",
    "load_weights",
    "normalisation_of_file",
    "normalises_pooled",
    "pooled",
    "pretrained_arguments",
    "read_weights",
    "set_memory_format",
    "share_the_image",
    "tensors_in",
    "timm_config",
]

__getattr__ = lazy_exports(__name__, __file__)
