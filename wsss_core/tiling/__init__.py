"""Images that are no squares: windows over a picture, their pixels, and maps blended from them."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.tiling.blending import BandBlender, blend_windows, maps_at
    from wsss_core.tiling.choosing import ChosenTile, choose_tiles, count_inside, evenly_spread
    from wsss_core.tiling.cutting import (
        PADDING_COLOUR,
        cut_labels,
        cut_view,
        cut_views,
        nearest_places,
    )
    from wsss_core.tiling.normalising import normalise_windows, with_edges
    from wsss_core.tiling.settings import ASPECTS, SQUASHED, Aspect, Framing, TileSettings
    from wsss_core.tiling.windows import PictureWindows, tile_boxes

__all__ = [
    "ASPECTS",
    "PADDING_COLOUR",
    "SQUASHED",
    "Aspect",
    "BandBlender",
    "ChosenTile",
    "Framing",
    "PictureWindows",
    "TileSettings",
    "blend_windows",
    "choose_tiles",
    "count_inside",
    "cut_labels",
    "cut_view",
    "cut_views",
    "evenly_spread",
    "maps_at",
    "nearest_places",
    "normalise_windows",
    "tile_boxes",
    "with_edges",
]

__getattr__ = lazy_exports(__name__, __file__)
