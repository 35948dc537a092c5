"""The description of a data set: its table, contact sheet, and what accompanies each class."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.description.cooccurrence import CompanionKind, Cooccurrence
    from wsss_core.data.description.counts import ClassCount
    from wsss_core.data.description.describing import DataDescription, describe_data
    from wsss_core.data.description.published import EVERY_CLASS, EVERY_SOURCE, LabelType
    from wsss_core.data.description.sheet import COLOURS, CONTEXT_COLOUR, SheetRow, Thumbnail
    from wsss_core.data.description.traps import Trap

__all__ = [
    "COLOURS",
    "CONTEXT_COLOUR",
    "EVERY_CLASS",
    "EVERY_SOURCE",
    "ClassCount",
    "CompanionKind",
    "Cooccurrence",
    "DataDescription",
    "LabelType",
    "SheetRow",
    "Thumbnail",
    "Trap",
    "describe_data",
]

__getattr__ = lazy_exports(__name__, __file__)
