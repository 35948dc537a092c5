"""Conformer: a convolutional and a transformer branch that exchange features in every block."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.backbones.conformer.registered import (
        conformer_base_patch16,
        conformer_small_patch16,
        conformer_tiny_patch16,
    )
    from wsss_core.backbones.conformer.trans_cam import TransCamMaps
    from wsss_core.backbones.conformer.conformer import Conformer  # isort: skip

__all__ = [
    "Conformer",
    "TransCamMaps",
    "conformer_base_patch16",
    "conformer_small_patch16",
    "conformer_tiny_patch16",
]

__getattr__ = lazy_exports(__name__, __file__)
