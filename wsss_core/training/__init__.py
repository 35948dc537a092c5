"""The training loop of every paradigm."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.training.augmentation import draw_flips, mirror
    from wsss_core.training.checkpoint import EpochRecord, restore_checkpoint, save_checkpoint
    from wsss_core.training.loop import CollapseError, train
    from wsss_core.training.micro_batches import batch_gradients
    from wsss_core.training.settings import TrainingSettings

__all__ = [
    "CollapseError",
    "EpochRecord",
    "TrainingSettings",
    "batch_gradients",
    "draw_flips",
    "mirror",
    "restore_checkpoint",
    "save_checkpoint",
    "train",
]

__getattr__ = lazy_exports(__name__, __file__)
