"""Single-stage training runs: their paradigm, and their decoder as a segmenter."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.stages.single_stage.building import (
        decoder_settings,
        first_seed,
        prepared,
        recipe_of_job,
        single_stage_paradigm,
        trained_with,
    )

__all__ = [
    "decoder_settings",
    "first_seed",
    "prepared",
    "recipe_of_job",
    "single_stage_paradigm",
    "trained_with",
]

__getattr__ = lazy_exports(__name__, __file__)
