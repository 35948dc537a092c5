"""Images, labels and masks: splits in memory, and the folders and scenes they come from."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.description.describing import DataDescription, describe_data
    from wsss_core.data.image_set import IGNORED, SPLITS, ImageSet, ImageSource, PixelMaps
    from wsss_core.data.network_input import to_input
    from wsss_core.data.pixel_rules import PixelRules

__all__ = [
    "IGNORED",
    "SPLITS",
    "DataDescription",
    "ImageSet",
    "ImageSource",
    "PixelMaps",
    "PixelRules",
    "describe_data",
    "to_input",
]

__getattr__ = lazy_exports(__name__, __file__)
