"""Planning a study: its trials, their keys, what they will cost."""

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
    training_work,
)
from studies.planning.folds import fold_lines, fold_warnings
from studies.planning.images import SCORED_SPLITS, ImageSplits, StudyImages, open_source
from studies.planning.job import TrainingJob, Trial
from studies.planning.plan import Plan
from studies.planning.planner import Planner, make_plan
from studies.planning.replaced_plan import replaced_by

__all__ = [
    "SCORED_SPLITS",
    "CamScoring",
    "Chain",
    "Estimate",
    "ImageSplits",
    "MapScaling",
    "NodeAmounts",
    "Plan",
    "Planner",
    "Request",
    "Step",
    "StudyImages",
    "TrainingJob",
    "Trial",
    "cams_key",
    "estimate",
    "fitted_state_key",
    "fold_lines",
    "fold_warnings",
    "image_features_key",
    "kind",
    "laid_over",
    "make_plan",
    "open_source",
    "passes",
    "prefix_keys",
    "read_timings",
    "replaced_by",
    "requests_of",
    "require_room",
    "scoring_work",
    "shard_key",
    "shards",
    "slots",
    "training_work",
    "whole_gpu",
]
