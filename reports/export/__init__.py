"""Exporting results to TensorBoard, wandb, MLflow, CSV files and Optuna's dashboard."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.export.exporting import export_results
    from reports.export.outcome import Exported
    from reports.export.tools import Tool

__all__ = ["Exported", "Tool", "export_results"]

__getattr__ = lazy_exports(__name__, __file__)
