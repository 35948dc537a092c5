"""Right for the right reason? What a network needs of real images that have masks, with NumPy.

Noise, grey, tiles and other backgrounds on the object or on what surrounds it (`alterations`), how
much of the accuracy each takes away (`sensitivity`, `measuring`), how a map orders the pixels
(`deletion`, `localisation`), and accuracy in the groups of a label and a flag (`groups`).
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.evaluate.reasons.alterations import (
        Region,
        grey,
        grey_box,
        noisy,
        object_and_context,
        on_background,
        tiled_box,
    )
    from wsss_core.evaluate.reasons.deletion import DeletionInsertion, Predict, deletion_insertion
    from wsss_core.evaluate.reasons.groups import (
        GroupAccuracy,
        flag_groups,
        score_interval,
        worst_group,
    )
    from wsss_core.evaluate.reasons.localisation import (
        box_overlaps,
        delta_density,
        max_box_accuracy,
        pixel_average_precision,
        saliency_recall,
    )
    from wsss_core.evaluate.reasons.measuring import (
        ABLATIONS,
        ClassReasons,
        ReasonSettings,
        measure_reasons,
    )
    from wsss_core.evaluate.reasons.sensitivity import (
        feature_sensitivity,
        relative_foreground_sensitivity,
    )

__all__ = [
    "ABLATIONS",
    "ClassReasons",
    "DeletionInsertion",
    "GroupAccuracy",
    "Predict",
    "ReasonSettings",
    "Region",
    "box_overlaps",
    "deletion_insertion",
    "delta_density",
    "feature_sensitivity",
    "flag_groups",
    "grey",
    "grey_box",
    "max_box_accuracy",
    "measure_reasons",
    "noisy",
    "object_and_context",
    "on_background",
    "pixel_average_precision",
    "relative_foreground_sensitivity",
    "saliency_recall",
    "score_interval",
    "tiled_box",
    "worst_group",
]

__getattr__ = lazy_exports(__name__, __file__)
