"""The command `wsss export`."""

import argparse

from reports.export import Tool
from studies.cli.common import NO_PLUGINS_OPTION, RESULTS_OPTION, Command, a_path, option, show
from studies.cli.report import own_folder
from studies.cluster.machine import usable_cpus

TOOLS = tuple(str(tool) for tool in Tool)


def _export(options: argparse.Namespace) -> int:
    from reports.export import export_results

    out = options.out
    if out is None and options.to != Tool.MLFLOW:
        out = own_folder(options) / "export" / options.to
    exported = export_results(
        options.results,
        options.to,
        out=out,
        uri=options.uri,
        study=options.study,
        anonymous=options.anonymous,
        processes=usable_cpus(),
    )
    for note in exported.notes:
        show(note, aside=True)
    same = f", {exported.unchanged} unchanged" if exported.unchanged else ""
    more = f" and {exported.segmenters} segmenters" if exported.segmenters else ""
    trials = exported.runs - exported.segmenters
    show(f"{trials} trials{more} exported{same}", aside=True)
    if exported.next_step:
        show(f"open it by: {exported.next_step}", aside=True)
    show(exported.where)
    return 0


EXPORT = Command(
    "export",
    "write all trials for TensorBoard, wandb, MLflow, optuna-dashboard, or as CSV files",
    "wsss export results/quickstart --to tensorboard",
    _export,
    (
        RESULTS_OPTION,
        option(
            "--to",
            required=True,
            choices=TOOLS,
            help="the tool to write for",
        ),
        option("--out", type=a_path, metavar="DIR", help="folder to write [RESULTS/export/TOOL]"),
        option("--uri", metavar="URI", help="address of the MLflow server [MLFLOW_TRACKING_URI]"),
        option("--study", metavar="NAME", help="the study to export [all]"),
        NO_PLUGINS_OPTION,
        option(
            "--anonymous",
            action="store_true",
            help="name no machine, folder or person: host-1, PATH, user-1",
        ),
    ),
    aside=True,
)
