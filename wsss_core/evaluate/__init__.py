"""Score maps against masks: histograms, thresholds and IoU, with NumPy alone."""

from wsss_core.evaluate.competition import compete
from wsss_core.evaluate.degenerate import collapse_reason
from wsss_core.evaluate.histogram_stack import HistogramStack
from wsss_core.evaluate.multi_class import MultiClassStack
from wsss_core.evaluate.quantise import Normalisation, normalise, quantise, resize
from wsss_core.evaluate.regions import peak_region, ring_around
from wsss_core.evaluate.score_histogram import ScoreHistogram
from wsss_core.evaluate.thresholds import (
    Evaluation,
    Objective,
    ThresholdChoice,
    ThresholdRule,
    choose_threshold,
    evaluate,
    level_of,
)

__all__ = [
    "Evaluation",
    "HistogramStack",
    "MultiClassStack",
    "Normalisation",
    "Objective",
    "ScoreHistogram",
    "ThresholdChoice",
    "ThresholdRule",
    "choose_threshold",
    "collapse_reason",
    "compete",
    "evaluate",
    "level_of",
    "normalise",
    "peak_region",
    "quantise",
    "resize",
    "ring_around",
]
