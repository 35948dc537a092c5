"""Planning a study: its trials, their keys, what they will cost."""

from studies.planning.cancelled_jobs import (
    Cancellations,
    CancelledInRun,
    is_cancelled,
    without_rows,
)
from studies.planning.capacity import (
    NodeAmounts,
    Request,
    requests_of,
    require_room,
    slots,
    whole_gpu,
)
from studies.planning.chains import (
    CamScoring,
    Chain,
    MapScaling,
    Step,
    cams_key,
    fitted_state_key,
    image_features_key,
    laid_over,
    prefix_keys,
    shard_key,
    shards,
)
from studies.planning.cost import (
    Estimate,
    estimate,
    kind,
    passes,
    read_timings,
    scoring_work,
    segment_scoring_work,
    training_work,
)
from studies.planning.features import (
    MapView,
    TeacherMaps,
    features_dtype,
    features_key,
    has_frozen_encoder,
    reads_frozen_teacher,
    reads_kept_maps,
    teacher_maps,
    training_views,
)
from studies.planning.folds import fold_lines, fold_warnings
from studies.planning.images import (
    SCORED_SPLITS,
    ImageSplits,
    StudyImages,
    open_source,
    windows_in_words,
)
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.planning.plan_display import RecipeInPlan, recipe_line, recipes_of
from studies.planning.planner import Planner, make_plan
from studies.planning.replaced_plan import replaced_by
from studies.planning.segmentation.decoders import decoder_model
from studies.planning.segmentation.segment_plan import segment_plan_rows
from studies.planning.segmentation.segments import (
    Job,
    MapsOfLabels,
    SegmentJob,
    SegmentScoring,
    segment_work,
)
from studies.planning.segmentation.training_masks import MaskSet, TrainingMasks

__all__ = [
    "SCORED_SPLITS",
    "CamScoring",
    "Cancellations",
    "CancelledInRun",
    "Chain",
    "Estimate",
    "ImageSplits",
    "Job",
    "MapScaling",
    "MapView",
    "MapsOfLabels",
    "MaskSet",
    "NodeAmounts",
    "Plan",
    "Planner",
    "RecipeInPlan",
    "Request",
    "SegmentJob",
    "SegmentScoring",
    "Step",
    "StudyImages",
    "TeacherMaps",
    "TrainingJob",
    "TrainingMasks",
    "Trial",
    "cams_key",
    "decoder_model",
    "estimate",
    "features_dtype",
    "features_key",
    "fitted_state_key",
    "fold_lines",
    "fold_warnings",
    "has_frozen_encoder",
    "image_features_key",
    "is_cancelled",
    "kind",
    "laid_over",
    "make_plan",
    "open_source",
    "passes",
    "prefix_keys",
    "read_timings",
    "reads_frozen_teacher",
    "reads_kept_maps",
    "recipe_line",
    "recipes_of",
    "replaced_by",
    "requests_of",
    "require_room",
    "scoring_work",
    "segment_plan_rows",
    "segment_scoring_work",
    "segment_work",
    "shard_key",
    "shards",
    "slots",
    "teacher_maps",
    "training_views",
    "training_work",
    "whole_gpu",
    "windows_in_words",
    "without_rows",
]
