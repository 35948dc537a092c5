"""Score maps against masks: histograms, thresholds and IoU, with NumPy alone."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.evaluate.boundaries import BOUNDARY_SHARE, boundary_counts, boundary_iou
    from wsss_core.evaluate.confusion import ConfusionCounts, MeanIou, confusion_counts
    from wsss_core.evaluate.diagnostics import (
        collapse_reason,
        confusion_ratio,
        false_positive_area,
        mass_shares,
        pointing_game,
        reliance,
    )
    from wsss_core.evaluate.map_fusion import LogitFusion, MapFusion, fuse_logits, fuse_maps
    from wsss_core.evaluate.multi_class import MultiClassStack
    from wsss_core.evaluate.objects import ObjectCounts, object_counts
    from wsss_core.evaluate.overlays import overlay
    from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve, false_positive_share
    from wsss_core.evaluate.regions import NOWHERE, peak_region, ring_around
    from wsss_core.evaluate.score_histogram import HistogramStack, ScoreHistogram
    from wsss_core.evaluate.score_maps import Normalisation, compete, normalise, quantise, resize
    from wsss_core.evaluate.sweep import BestThreshold, ThresholdSweep, threshold_sweep
    from wsss_core.evaluate.thresholds import (
        Evaluation,
        NoThresholdError,
        Objective,
        OwnRule,
        ThresholdChoice,
        ThresholdRule,
        choose_threshold,
        evaluate,
        level_of,
        load_own_rule,
    )
    from wsss_core.evaluate.unsupervised import (
        GaussianMixture,
        fit_gaussian_mixture,
        gaussian_mixture_level,
        otsu_level,
    )
    from wsss_core.evaluate.winning_classes import (
        ArgmaxSweep,
        WinnerHistogram,
        argmax_sweep,
        winners,
    )

__all__ = [
    "BOUNDARY_SHARE",
    "NOWHERE",
    "SCORE_LEVELS",
    "ArgmaxSweep",
    "BestThreshold",
    "ConfusionCounts",
    "Curve",
    "Evaluation",
    "GaussianMixture",
    "HistogramStack",
    "LogitFusion",
    "MapFusion",
    "MeanIou",
    "MultiClassStack",
    "NoThresholdError",
    "Normalisation",
    "ObjectCounts",
    "Objective",
    "OwnRule",
    "ScoreHistogram",
    "ThresholdChoice",
    "ThresholdRule",
    "ThresholdSweep",
    "WinnerHistogram",
    "argmax_sweep",
    "boundary_counts",
    "boundary_iou",
    "choose_threshold",
    "collapse_reason",
    "compete",
    "confusion_counts",
    "confusion_ratio",
    "evaluate",
    "false_positive_area",
    "false_positive_share",
    "fit_gaussian_mixture",
    "fuse_logits",
    "fuse_maps",
    "gaussian_mixture_level",
    "level_of",
    "load_own_rule",
    "mass_shares",
    "normalise",
    "object_counts",
    "otsu_level",
    "overlay",
    "peak_region",
    "pointing_game",
    "quantise",
    "reliance",
    "resize",
    "ring_around",
    "threshold_sweep",
    "winners",
]

__getattr__ = lazy_exports(__name__, __file__)
