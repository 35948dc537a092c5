"""The tools in which people look at experiments; nothing here loads pandas."""

from enum import StrEnum


class Tool(StrEnum):
    """The tools that an export can be for."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    CSV = "csv"
    OPTUNA = "optuna"
