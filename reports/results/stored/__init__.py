"""Figures of trials that are derived once, kept as bytes and read many at a time."""

from reports.results.stored.alike import AlikeTrials, KeptFigures, tidy, unpacked, whole_columns
from reports.results.stored.by_configuration import (
    ByPair,
    FiguresByPair,
    StackedFigures,
)
from reports.results.stored.ended_rows import EndedRows
from reports.results.stored.epochs import EpochsByTrial
from reports.results.stored.packing import (
    DIGEST_BYTES,
    PackedFigures,
    derived_columns,
    figures_code,
    is_of,
    packed,
)
from reports.results.stored.tidy_frames import tidy_blocks, whole_frame
from reports.results.stored.trial_record import TrialRecord

__all__ = [
    "DIGEST_BYTES",
    "AlikeTrials",
    "ByPair",
    "EndedRows",
    "EpochsByTrial",
    "FiguresByPair",
    "KeptFigures",
    "PackedFigures",
    "StackedFigures",
    "TrialRecord",
    "derived_columns",
    "figures_code",
    "is_of",
    "packed",
    "tidy",
    "tidy_blocks",
    "unpacked",
    "whole_columns",
    "whole_frame",
]
