"""The training loop of every paradigm."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from wsss_core.training.averages import AveragedState, WeightAverage
    from wsss_core.training.checkpoint import (
        EpochRecord,
        HasState,
        restore_checkpoint,
        save_checkpoint,
    )
    from wsss_core.training.freezing import freeze, moving_state
    from wsss_core.training.loop import CollapseError, train
    from wsss_core.training.mask_targets import MaskTargets, mask_loss
    from wsss_core.training.micro_batches import batch_gradients
    from wsss_core.training.optimizers import ParameterGroup, build_optimizer, set_rate
    from wsss_core.training.settings import TrainingSettings
    from wsss_core.training.soup import average_weights

__all__ = [
    "AveragedState",
    "CollapseError",
    "EpochRecord",
    "HasState",
    "MaskTargets",
    "ParameterGroup",
    "TrainingSettings",
    "WeightAverage",
    "average_weights",
    "batch_gradients",
    "build_optimizer",
    "freeze",
    "mask_loss",
    "moving_state",
    "restore_checkpoint",
    "save_checkpoint",
    "set_rate",
    "train",
]

__getattr__ = lazy_exports(__name__, __file__)
