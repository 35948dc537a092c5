"""From data sets as they are published to a data folder of this product, with a record of it."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.importing.conducting import import_data
    from wsss_core.data.importing.hints import import_hint, misses_a_split
    from wsss_core.data.importing.in_place import PublishedSource
    from wsss_core.data.importing.record import ImportRecord, check_imported, read_record
    from wsss_core.data.importing.settings import (
        ImportSettings,
        SourceSettings,
        SplitSettings,
        name_sources,
        parse_splits,
        parse_take,
    )

__all__ = [
    "ImportRecord",
    "ImportSettings",
    "PublishedSource",
    "SourceSettings",
    "SplitSettings",
    "check_imported",
    "import_data",
    "import_hint",
    "misses_a_split",
    "name_sources",
    "parse_splits",
    "parse_take",
    "read_record",
]

__getattr__ = lazy_exports(__name__, __file__)
