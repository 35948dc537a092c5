"""Score maps against masks: histograms, thresholds and IoU, with NumPy alone."""

from wsss_core.evaluate.histogram_stack import HistogramStack
from wsss_core.evaluate.quantise import Normalisation, normalise, quantise, resize
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
    "Normalisation",
    "Objective",
    "ScoreHistogram",
    "ThresholdChoice",
    "ThresholdRule",
    "choose_threshold",
    "evaluate",
    "level_of",
    "normalise",
    "quantise",
    "resize",
]
