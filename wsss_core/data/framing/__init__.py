"""Pictures at their own size: read whole or a strip at a time, and seen through windows."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.framing.counting import TileCounts, count_tiles, tile_lines
    from wsss_core.data.framing.framed_source import (
        all_shapes,
        check_tiles_fit,
        framed_fingerprint,
        picture_shapes,
        read_framed,
        training_windows,
        window_name,
    )
    from wsss_core.data.framing.picture_rows import PictureRows, checked_file_digest
    from wsss_core.data.framing.png_strips import PngStrips

__all__ = [
    "PictureRows",
    "PngStrips",
    "TileCounts",
    "all_shapes",
    "check_tiles_fit",
    "checked_file_digest",
    "count_tiles",
    "framed_fingerprint",
    "picture_shapes",
    "read_framed",
    "tile_lines",
    "training_windows",
    "window_name",
]

__getattr__ = lazy_exports(__name__, __file__)
