"""Knowledge transfer between a CNN and a ViT: losses, what is aligned, who teaches whom."""

from wsss_core.transfer.alignment import Alignment
from wsss_core.transfer.losses import LEVELS, METRICS, VARIANTS, transfer_loss
from wsss_core.transfer.paradigms import (
    GRADIENTS,
    PARADIGMS,
    CoTraining,
    Losses,
    Paradigm,
    Single,
    TeacherStudent,
    classification_loss,
)
from wsss_core.transfer.projection import PROJECTIONS
from wsss_core.transfer.representations import REPRESENTATIONS

__all__ = [
    "GRADIENTS",
    "LEVELS",
    "METRICS",
    "PARADIGMS",
    "PROJECTIONS",
    "REPRESENTATIONS",
    "VARIANTS",
    "Alignment",
    "CoTraining",
    "Losses",
    "Paradigm",
    "Single",
    "TeacherStudent",
    "classification_loss",
    "transfer_loss",
]
