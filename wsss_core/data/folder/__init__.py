"""A data set in a folder: its layout, its splits, and a check of it."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.data.folder.check import USUAL_SIZE, DataSummary
    from wsss_core.data.folder.class_list import FolderClasses
    from wsss_core.data.folder.findings import (
        DataFinding,
        DataFindings,
        FindingKind,
        Severity,
    )
    from wsss_core.data.folder.layout import find_classes
    from wsss_core.data.folder.listing import list_split
    from wsss_core.data.folder.source import FolderSource

__all__ = [
    "USUAL_SIZE",
    "DataFinding",
    "DataFindings",
    "DataSummary",
    "FindingKind",
    "FolderClasses",
    "FolderSource",
    "Severity",
    "find_classes",
    "list_split",
]

__getattr__ = lazy_exports(__name__, __file__)
