"""Knowledge transfer between a CNN and a ViT: losses, alignments, paradigms."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.transfer.alignment import Alignment
    from wsss_core.transfer.losses import transfer_loss
    from wsss_core.transfer.moving import move_average
    from wsss_core.transfer.names import (
        ALIGNMENT_METRICS,
        GRADIENTS,
        LOGIT_METRICS,
        METRICS,
        PARADIGMS,
        PROJECTIONS,
        RELATIONS,
        REPRESENTATIONS,
        TRANSFER_LEVELS,
        VARIANTS,
    )
    from wsss_core.transfer.paradigms import (
        CoTraining,
        Losses,
        Paradigm,
        Single,
        TeacherStudent,
        classification_loss,
        weight_at,
    )
    from wsss_core.transfer.several_teachers import SeveralTeachers

__all__ = [
    "ALIGNMENT_METRICS",
    "GRADIENTS",
    "LOGIT_METRICS",
    "METRICS",
    "PARADIGMS",
    "PROJECTIONS",
    "RELATIONS",
    "REPRESENTATIONS",
    "TRANSFER_LEVELS",
    "VARIANTS",
    "Alignment",
    "CoTraining",
    "Losses",
    "Paradigm",
    "SeveralTeachers",
    "Single",
    "TeacherStudent",
    "classification_loss",
    "move_average",
    "transfer_loss",
    "weight_at",
]

__getattr__ = lazy_exports(__name__, __file__)
