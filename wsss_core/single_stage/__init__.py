"""Single-stage training: encoder, decoder and their labels in one training, from image labels."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.single_stage.affinity import (
        AttentionAffinity,
        affinity_labels,
        affinity_loss,
        near_pairs,
        propagate,
    )
    from wsss_core.single_stage.auxiliary import AuxiliaryClassifier
    from wsss_core.single_stage.branch import Branch
    from wsss_core.single_stage.class_maps import MapsOnTheFly, maps_on_the_fly
    from wsss_core.single_stage.label_maker import LabelMaker, two_threshold_labels
    from wsss_core.single_stage.losses import (
        balanced_segmentation_loss,
        cut_maps,
        discrepancy,
        token_contrast,
    )
    from wsss_core.single_stage.noise_filter import fit_two_gaussians, without_doubted
    from wsss_core.single_stage.paradigm import SingleStage, build_single_stage, prepare
    from wsss_core.single_stage.recipes import RECIPE_TRAINING, RECIPES, recipe_of
    from wsss_core.single_stage.settings import ScheduledTerm, SingleStageSettings

__all__ = [
    "RECIPES",
    "RECIPE_TRAINING",
    "AttentionAffinity",
    "AuxiliaryClassifier",
    "Branch",
    "LabelMaker",
    "MapsOnTheFly",
    "ScheduledTerm",
    "SingleStage",
    "SingleStageSettings",
    "affinity_labels",
    "affinity_loss",
    "balanced_segmentation_loss",
    "build_single_stage",
    "cut_maps",
    "discrepancy",
    "fit_two_gaussians",
    "maps_on_the_fly",
    "near_pairs",
    "prepare",
    "propagate",
    "recipe_of",
    "token_contrast",
    "two_threshold_labels",
    "without_doubted",
]

__getattr__ = lazy_exports(__name__, __file__)
