"""Paired comparisons of rows and of chains, and which networks are at chance."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.results.comparisons.chains import (
        ChainResult,
        chain_results,
        tuned_by_seed,
        tuned_chains,
        worst_and_best_seed,
    )
    from reports.results.comparisons.chance import (
        BalancedAccuracy,
        at_chance,
        balanced_accuracy,
        balanced_accuracy_interval,
    )
    from reports.results.comparisons.rows import (
        Comparison,
        ControlComparison,
        best_taught,
        comparisons,
        control_comparisons,
    )

__all__ = [
    "BalancedAccuracy",
    "ChainResult",
    "Comparison",
    "ControlComparison",
    "at_chance",
    "balanced_accuracy",
    "balanced_accuracy_interval",
    "best_taught",
    "chain_results",
    "comparisons",
    "control_comparisons",
    "tuned_by_seed",
    "tuned_chains",
    "worst_and_best_seed",
]

__getattr__ = lazy_exports(__name__, __file__)
