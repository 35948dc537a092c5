"""Single-stage training: encoder, decoder and their labels in one training, from image labels."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.single_stage.affinity import (
        AttentionAffinity,
        affinity_labels,
        affinity_loss,
        decoder_affinity,
        near_pairs,
        propagate,
    )
    from wsss_core.single_stage.branch import Branch
    from wsss_core.single_stage.class_maps import AuxiliaryClassifier, MapsOnTheFly, maps_on_the_fly
    from wsss_core.single_stage.class_names import (
        for_classes,
        rival_sentences,
        text_encoder_folder,
    )
    from wsss_core.single_stage.class_tokens import (
        ClassTokens,
        TokenGraph,
        certain_evidence,
        token_identity,
        token_patch_cosines,
        uncertain_evidence,
    )
    from wsss_core.single_stage.crops import (
        CropContrast,
        LocalCrops,
        crop_contrast,
        cut_out,
        draw_crops,
    )
    from wsss_core.single_stage.label_maker import (
        LabelMaker,
        two_threshold_labels,
        with_background,
        with_inverse,
    )
    from wsss_core.single_stage.losses import (
        balanced_segmentation_loss,
        cut_maps,
        discrepancy,
        token_contrast,
    )
    from wsss_core.single_stage.noise_filter import fit_two_gaussians, without_doubted
    from wsss_core.single_stage.paradigm import SingleStage, build_single_stage, prepare
    from wsss_core.single_stage.recipes import RECIPE_TRAINING, RECIPES, recipe_of
    from wsss_core.single_stage.settings import SingleStageSettings
    from wsss_core.single_stage.text_maps import (
        chosen_attention,
        doubly_stochastic,
        gradient_text_maps,
        in_boxes,
        log_odds,
        text_class_maps,
    )
    from wsss_core.single_stage.text_network import TextNetwork
    from wsss_core.single_stage.vocabulary import ScheduledTerm

__all__ = [
    "RECIPES",
    "RECIPE_TRAINING",
    "AttentionAffinity",
    "AuxiliaryClassifier",
    "Branch",
    "ClassTokens",
    "CropContrast",
    "LabelMaker",
    "LocalCrops",
    "MapsOnTheFly",
    "ScheduledTerm",
    "SingleStage",
    "SingleStageSettings",
    "TextNetwork",
    "TokenGraph",
    "affinity_labels",
    "affinity_loss",
    "balanced_segmentation_loss",
    "build_single_stage",
    "certain_evidence",
    "chosen_attention",
    "crop_contrast",
    "cut_maps",
    "cut_out",
    "decoder_affinity",
    "discrepancy",
    "doubly_stochastic",
    "draw_crops",
    "fit_two_gaussians",
    "for_classes",
    "gradient_text_maps",
    "in_boxes",
    "log_odds",
    "maps_on_the_fly",
    "near_pairs",
    "prepare",
    "propagate",
    "recipe_of",
    "rival_sentences",
    "text_class_maps",
    "text_encoder_folder",
    "token_contrast",
    "token_identity",
    "token_patch_cosines",
    "two_threshold_labels",
    "uncertain_evidence",
    "with_background",
    "with_inverse",
    "without_doubted",
]

__getattr__ = lazy_exports(__name__, __file__)
