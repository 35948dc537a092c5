"""The section `folds` of a study file: what is held out together, and how often."""

from typing import Literal

from pydantic import Field, field_validator

from studies.spec.base import Strict
from wsss_core.data.folds import FoldUnit

MOST_FOLDS = 1000
"""The most folds of a study."""


class Folds(Strict):
    """Cross-validation by groups: every configuration is trained for each seed and fold.

    Images of all splits are pooled, see `wsss_core.data.folds`. `by` says what is held out
    together: a group (frame, clip, patient), a source or a camera. `k` is the number of folds;
    with "all" each unit is held out by itself. `seed` decides ties, and `tune` is the share of the
    images with masks outside the test that thresholds are tuned on.
    """

    by: FoldUnit
    k: int | Literal["all"]
    seed: int = Field(0, ge=0, lt=2**31)
    tune: float = Field(0.2, gt=0, lt=1)

    @field_validator("k", mode="before")
    @classmethod
    def _is_a_number(cls, k: object) -> object:
        whole = isinstance(k, int) and not isinstance(k, bool)
        if k != "all" and not (whole and 2 <= k <= MOST_FOLDS):  # type: ignore[operator]
            raise ValueError(f"expected a number of folds from 2 to {MOST_FOLDS}, or all")
        return k
