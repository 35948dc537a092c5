"""Segmenters, the last stage: a network that is trained on masks, true ones or pseudo masks."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.segmentation.building import build_segmenter, check_segmenter, try_segmenter
    from wsss_core.segmentation.fitting import FitRecord, LabelledImages, fit
    from wsss_core.segmentation.losses import (
        binary_cross_entropy,
        cross_entropy,
        dice,
        generalised_cross_entropy,
        symmetric_cross_entropy,
    )
    from wsss_core.segmentation.predicting import (
        predict_masks,
        predict_picture,
        predict_probabilities,
    )
    from wsss_core.segmentation.sam import SamSegmenter
    from wsss_core.segmentation.saving import load_segmenter, save_segmenter
    from wsss_core.segmentation.segmenter import Segmenter, SegmenterOutput, resized
    from wsss_core.segmentation.settings import (
        Architecture,
        FitSettings,
        LossSettings,
        PredictionSettings,
        SegmenterSettings,
    )
    from wsss_core.segmentation.tokens import TokenSegmenter, segmenter_over
    from wsss_core.segmentation.true_boxes import (
        UPPER_BOUND,
        TrueBoxMasks,
        masks_from_true_boxes,
    )
    from wsss_core.segmentation.weighting import (
        SegmentationLoss,
        class_weights,
        count_labels,
        label_confidence,
    )

__all__ = [
    "UPPER_BOUND",
    "Architecture",
    "FitRecord",
    "FitSettings",
    "LabelledImages",
    "LossSettings",
    "PredictionSettings",
    "SamSegmenter",
    "SegmentationLoss",
    "Segmenter",
    "SegmenterOutput",
    "SegmenterSettings",
    "TokenSegmenter",
    "TrueBoxMasks",
    "binary_cross_entropy",
    "build_segmenter",
    "check_segmenter",
    "class_weights",
    "count_labels",
    "cross_entropy",
    "dice",
    "fit",
    "generalised_cross_entropy",
    "label_confidence",
    "load_segmenter",
    "masks_from_true_boxes",
    "predict_masks",
    "predict_picture",
    "predict_probabilities",
    "resized",
    "save_segmenter",
    "segmenter_over",
    "symmetric_cross_entropy",
    "try_segmenter",
]

__getattr__ = lazy_exports(__name__, __file__)
