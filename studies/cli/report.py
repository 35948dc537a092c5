"""The commands `wsss report` and `wsss thresholds`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from reports.storage import is_uri, located
from studies.cli.common import add_command

if TYPE_CHECKING:
    from studies.cli.common import Commands


def add_report_commands(commands: "Commands") -> None:
    """Add the commands `report` and `thresholds`."""
    report = add_command(
        commands,
        "report",
        _report,
        "make the page, tables and figures from a results folder",
        "wsss report results/quickstart",
    )
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report [RESULTS/report]"
    )
    thresholds = add_command(
        commands,
        "thresholds",
        _thresholds,
        "list every chosen threshold, its IoU and the price of not knowing the masks",
        "wsss thresholds results/quickstart",
    )
    thresholds.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for choices and curves as Parquet [RESULTS/report/tables]",
    )
    for command in (report, thresholds):
        command.add_argument("results", type=located, metavar="RESULTS")
        command.set_defaults(aside=True)  # standard output is the result


def _report(options: argparse.Namespace) -> int:
    from reports import make_report

    files = make_report(
        options.results,
        options.out or _own_folder(options) / "report",
        processes=_cores(),
    )
    print(files.html)
    return 0


def _thresholds(options: argparse.Namespace) -> int:
    from reports.threshold_listing import list_thresholds

    out = options.out or _own_folder(options) / "report" / "tables"
    listing = list_thresholds(options.results, out, processes=_cores())
    print(listing.text, *(f"wrote {file}" for file in listing.files), sep="\n")
    return 0


def _own_folder(options: argparse.Namespace) -> Path:
    """Return the folder that a command writes to: RESULTS, or `results/NAME` here for a URI."""
    if is_uri(options.results):
        return Path("results") / str(options.results).rpartition("/")[2]
    return Path(options.results)


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
