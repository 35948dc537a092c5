"""Decisions on paired differences that may be looked at after every seed."""

from reports.deciding.corrections import e_bh, holm_e_values
from reports.deciding.crossed_effects import (
    CrossedInterval,
    VarianceComponents,
    crossed_interval,
)
from reports.deciding.fixed_design import fixed_design_seeds, seeds_that_tell
from reports.deciding.group_sequential import BoundaryShape, GroupSequential
from reports.deciding.intervals import SequentialInterval, SequentialTest, sequential_interval
from reports.deciding.mixture import EValue, TMixture, t_mixture_e_value
from reports.deciding.paths import Decision, DecisionRule, PathPoint, decide_comparisons
from reports.deciding.signs import SignTest, compare_collapses, sign_test
from reports.deciding.verdicts import Verdict

__all__ = [
    "BoundaryShape",
    "CrossedInterval",
    "Decision",
    "DecisionRule",
    "EValue",
    "GroupSequential",
    "PathPoint",
    "SequentialInterval",
    "SequentialTest",
    "SignTest",
    "TMixture",
    "VarianceComponents",
    "Verdict",
    "compare_collapses",
    "crossed_interval",
    "decide_comparisons",
    "e_bh",
    "fixed_design_seeds",
    "holm_e_values",
    "seeds_that_tell",
    "sequential_interval",
    "sign_test",
    "t_mixture_e_value",
]
