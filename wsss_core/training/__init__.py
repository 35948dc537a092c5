"""The training loop of every paradigm."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.training.checkpoint import EpochRecord
    from wsss_core.training.loop import CollapseError, train
    from wsss_core.training.settings import TrainingSettings

__all__ = [
    "CollapseError",
    "EpochRecord",
    "TrainingSettings",
    "train",
]

__getattr__ = lazy_exports(__name__, __file__)
