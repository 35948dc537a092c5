"""Exporting a results folder to the tools in which people look at experiments."""

import os
from collections.abc import Sequence
from pathlib import Path

from reports.export.csv_files import export_to_csv
from reports.export.folders import ExportFolder
from reports.export.mlflow_client import MlflowClient
from reports.export.mlflow_runs import export_to_mlflow
from reports.export.optuna_journal import export_to_optuna
from reports.export.outcome import Exported, needed
from reports.export.runs import StudyExport
from reports.export.tensorboard_files import export_to_tensorboard
from reports.export.tools import Tool
from reports.export.wandb_offline import export_to_wandb
from reports.page.views import by_study, view_of
from reports.results.anonymous import anonymised
from reports.results.reading import read_studies
from reports.storage import Location, local_path
from wsss_core.errors import InputError, nearest

_ADDRESS = "MLFLOW_TRACKING_URI"


def export_results(
    results: Location,
    tool: Tool | str,
    *,
    out: Path | None = None,
    uri: str | None = None,
    study: str | None = None,
    anonymous: bool = False,
    processes: int = 1,
) -> Exported:
    """Export the trials of a results folder to a tool.

    Args:
        results: a folder with `ledger/`, a path or a URI.
        tool: one of `Tool`.
        out: the folder to write, for every tool but MLflow; it must be new, empty, or written by
            an export to the same tool.
        uri: the address of the MLflow server; None: that in `MLFLOW_TRACKING_URI`.
        study: the study to export; None: all.
        anonymous: leave out the names of machines, folders and people, see `reports.anonymous`.
        processes: see `reports.page.writing.make_report`.

    Raises:
        InputError: there is no such tool or study, `out` or `uri` is missing or has no place, the
            ledger cannot be read, a package is not installed, the folder cannot be written, or
            the server refuses.

    """
    if tool not in list(Tool):
        raise InputError(f"no export to {tool}; expected one of {', '.join(Tool)}")
    tool = Tool(tool)
    if tool is Tool.MLFLOW:
        if out is not None:
            raise InputError("--out: MLflow takes runs at a server; name it by --uri")
        address = uri or os.environ.get(_ADDRESS)
        if not address:
            raise InputError(f"--uri: expected the address of an MLflow server, or {_ADDRESS}")
        client = MlflowClient(address)
        studies = _studies(results, study, anonymous=anonymous, processes=processes, page=True)
        return export_to_mlflow(studies, client)
    if uri is not None:
        raise InputError(f"--uri: only MLflow has a server; {tool} is written to --out DIR")
    if out is None:
        raise InputError(f"--out: expected a folder for the export to {tool}")
    if tool in _PACKAGES:
        needed(_PACKAGES[tool], tool)
    folder = ExportFolder(local_path(out), tool)
    page = tool in _PACKAGES
    studies = _studies(results, study, anonymous=anonymous, processes=processes, page=page)
    if tool is Tool.OPTUNA:
        return export_to_optuna(results, [one.name for one in studies], folder)
    return _TO_FOLDER[tool](studies, folder)


_PACKAGES = {Tool.TENSORBOARD: "tensorboard.compat.proto.event_pb2", Tool.WANDB: "wandb"}
"""The tools whose own package writes their files; it belongs to the extra of that name."""


_TO_FOLDER = {
    Tool.TENSORBOARD: export_to_tensorboard,
    Tool.WANDB: export_to_wandb,
    Tool.CSV: export_to_csv,
}


def _studies(
    results: Location, study: str | None, *, anonymous: bool, processes: int, page: bool
) -> Sequence[StudyExport]:
    records = read_studies(results, processes=processes)
    found = by_study(anonymised(records) if anonymous else records)
    if study is not None and study not in found:
        near = nearest(study, found)
        hint = f"; did you mean {near}?" if near else ""
        raise InputError(f"{results}: holds no study {study}, but {', '.join(found)}{hint}")
    return [
        StudyExport(name, group, view_of(group) if page else None)
        for name, group in found.items()
        if study in (None, name)
    ]
