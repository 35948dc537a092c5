"""Refinement of class scores into masks that follow the picture."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.refine.affinity.heads import (
        AffinityNet,
        BoundaryNet,
        boundary_walk,
        train_affinity,
        train_boundary,
    )
    from wsss_core.refine.affinity.random_walk import random_walk
    from wsss_core.refine.affinity.settings import AFFINITY_PRESETS, AffinitySettings
    from wsss_core.refine.crf.dense_crf import dense_crf, unary_probabilities
    from wsss_core.refine.crf.scores import refine_with_crf
    from wsss_core.refine.crf.settings import CRF_PRESETS, CrfSettings
    from wsss_core.refine.foundation.clip_weights import (
        clip_similarity,
        embed_texts,
        weight_cams,
    )
    from wsss_core.refine.foundation.mask_proposals import automatic_masks
    from wsss_core.refine.foundation.models import check_foundation, load_foundation
    from wsss_core.refine.foundation.sam_merging import merge_sam_wsss, merge_thesis
    from wsss_core.refine.label_free import map_agreement, map_area, map_entropy
    from wsss_core.refine.matting import alpha_matting
    from wsss_core.refine.own_thresholds import own_threshold
    from wsss_core.refine.pixel_adaptive import par
    from wsss_core.refine.steps.registry import check_step, make_refiner

__all__ = [
    "AFFINITY_PRESETS",
    "CRF_PRESETS",
    "AffinityNet",
    "AffinitySettings",
    "BoundaryNet",
    "CrfSettings",
    "alpha_matting",
    "automatic_masks",
    "boundary_walk",
    "check_foundation",
    "check_step",
    "clip_similarity",
    "dense_crf",
    "embed_texts",
    "load_foundation",
    "make_refiner",
    "map_agreement",
    "map_area",
    "map_entropy",
    "merge_sam_wsss",
    "merge_thesis",
    "own_threshold",
    "par",
    "random_walk",
    "refine_with_crf",
    "train_affinity",
    "train_boundary",
    "unary_probabilities",
    "weight_cams",
]

__getattr__ = lazy_exports(__name__, __file__)
