"""The commands `wsss report`, `wsss thresholds` and `wsss compare`."""

import argparse
from pathlib import Path

from reports.storage import is_uri
from studies.cli.common import (
    NO_PLUGINS_OPTION,
    RESULTS_OPTION,
    Command,
    a_location,
    a_path,
    option,
    show,
)
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from studies.cluster.machine import usable_cpus
from wsss_core.whole_files import write_whole


def _report(options: argparse.Namespace) -> int:
    from reports import make_report

    files = make_report(
        options.results,
        options.out or own_folder(options) / "report",
        processes=usable_cpus(),
        anonymous=options.anonymous,
    )
    show(files.html)
    return 0


def _thresholds(options: argparse.Namespace) -> int:
    from reports.listing import list_thresholds, threshold_record

    out = options.out or own_folder(options) / "report" / "tables"
    listing = list_thresholds(options.results, out, processes=usable_cpus())
    if options.json:
        records = [threshold_record(record) for record in listing.records]
        found = {"studies": records, "files": [str(file) for file in listing.files]}
        show_json(of_schema(Schema.THRESHOLDS, found))
        return 0
    show("\n".join([listing.text, *(f"wrote {file}" for file in listing.files)]))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from reports.listing import compare_results, comparison_table
    from reports.tables.rendering import to_csv, to_markdown

    found = compare_results(options.results, options.other, options.study, processes=usable_cpus())
    table = comparison_table(found)
    alarms = [f"ALARM: {sentence}" for sentence in found.alarms]
    show("\n\n".join([table.title, to_markdown(table).rstrip(), *alarms]))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        for file, text in (("csv", to_csv(table)), ("md", to_markdown(table))):
            write_whole(options.out / f"comparison.{file}", text.encode())
            show(f"wrote {options.out / f'comparison.{file}'}")
    return 0


def own_folder(options: argparse.Namespace) -> Path:
    """Return the folder that a command writes to: RESULTS, or `results/NAME` here for a URI."""
    if is_uri(options.results):
        return Path("results") / str(options.results).rpartition("/")[2]
    return Path(options.results)


REPORT = Command(
    "report",
    "make the page, tables and figures from a results folder",
    "wsss report results/quickstart",
    _report,
    (
        RESULTS_OPTION,
        option("--out", type=a_path, metavar="DIR", help="folder of the report [RESULTS/report]"),
        NO_PLUGINS_OPTION,
        option(
            "--anonymous",
            action="store_true",
            help="name no machine, folder or person: host-1, PATH, user-1",
        ),
    ),
    aside=True,
)

THRESHOLDS = Command(
    "thresholds",
    "list every chosen threshold, its IoU and the price of not knowing the masks",
    "wsss thresholds results/quickstart",
    _thresholds,
    (
        RESULTS_OPTION,
        option(
            "--out",
            type=a_path,
            metavar="DIR",
            help="folder for choices and curves as Parquet [RESULTS/report/tables]",
        ),
        JSON_OPTION,
        NO_PLUGINS_OPTION,
    ),
    aside=True,
)

COMPARE = Command(
    "compare",
    "compare a study of two results folders, row by row and seed by seed",
    "wsss compare results/before results/after",
    _compare,
    (
        RESULTS_OPTION,
        option("other", metavar="OTHER", type=a_location, help="the second results folder"),
        option("--study", metavar="NAME", help="which study, if a folder holds several"),
        option(
            "--out", type=a_path, metavar="DIR", help="folder for comparison.csv and comparison.md"
        ),
        NO_PLUGINS_OPTION,
    ),
    aside=True,
)
