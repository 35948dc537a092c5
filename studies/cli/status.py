"""`wsss status` and `wsss cancel`: from another terminal, while a study runs."""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies.cli.common import RESULTS_OPTION, Command, a_location, a_number, option, show
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.status.model import StudyStatus

EVERY_S = 5.0  # seconds between two looks with --watch


CLEARED = "\033[2J\033[H"
"""The escape that clears a terminal and goes to its first line."""


def _status(options: argparse.Namespace) -> int:
    from studies.status.anonymous import anonymised_status
    from studies.status.reading import Watcher

    watcher = Watcher(options.results, options.store, options.study)
    while True:
        found = watcher.look()
        if options.anonymous:
            found = [anonymised_status(status, options.results) for status in found]
        shown = _show(found, options)
        if not shown or options.watch is None or all(status.ended for status in found):
            break
        try:
            time.sleep(max(0.1, options.watch))
        except KeyboardInterrupt:
            break
    return int(any(status.failed or status.unrefined for status in found))


def _show(found: "Sequence[StudyStatus]", options: argparse.Namespace) -> bool:
    """Print the status of studies; return whether it could be printed."""
    from studies.status.text import MARKS, describe_status, status_record

    if options.json:
        return show_json([of_schema(Schema.STATUS, status_record(status)) for status in found])
    size, terminal = shutil.get_terminal_size(), sys.stdout.isatty()
    rows = None if options.all else max(10, size.lines - 16) if terminal else 40
    encoding = sys.stdout.encoding or "ascii"
    marks = "".join(MARKS.values()) + "×…"
    plain = _encoded(marks, encoding) != marks
    text = "\n\n".join(
        describe_status(status, width=size.columns, rows=rows, plain=plain) for status in found
    )
    if options.watch is not None:
        if terminal:
            return show(text, begin=CLEARED)
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}\n"
    return show(text)


def _encoded(text: str, encoding: str) -> str:
    """Return a text with a question mark for every character that the terminal cannot show."""
    return text.encode(encoding, "replace").decode(encoding)


def _cancel(options: argparse.Namespace) -> int:
    from reports.ledger import cancelled_rows
    from studies.status.cancelling import cancel, find_row, read_plan, uncancel

    if options.row is None:
        if options.undo or options.because:
            raise InputError("--undo and --because are of a row; name it after RESULTS")
        studies = sorted({trial.study for trial in read_plan(options.results, options.study)})
        marks = [row for of in studies for row in cancelled_rows(options.results, of).values()]
        show("\n".join(f"{row.study}: {row.line}" for row in marks) or "no row is cancelled")
        return 0
    row = find_row(options.results, options.row, options.study)
    if options.undo:
        if options.because:
            raise InputError("--because says why a row is cancelled; leave it out with --undo")
        show(uncancel(options.results, row))
        return 0
    show("\n".join(cancel(options.results, row, options.because)))
    again = ["wsss", "cancel", str(options.results), row.name, "--study", row.study, "--undo"]
    show(f"take it back with: {shlex.join(again)}")
    return 0


STATUS = Command(
    "status",
    "print a study's progress: trials done, running, failed and why, collapsed, to do; exit code 1 "
    "if anything failed",
    "wsss status results/quickstart --watch",
    _status,
    (
        RESULTS_OPTION,
        option(
            "--store",
            type=a_location,
            metavar="DIR",
            help="its leases show what runs [RESULTS/store]",
        ),
        option("--study", metavar="NAME", help="where RESULTS holds several [all]"),
        option(
            "--anonymous",
            action="store_true",
            help="name no machine, folder or person: host-1, PATH, user-1",
        ),
        option("--all", action="store_true", help="a line for every configuration"),
        JSON_OPTION,
        option(
            "--watch",
            nargs="?",
            type=a_number,
            const=EVERY_S,
            metavar="SECONDS",
            help=f"again and again until nothing is left to do [{EVERY_S:g}]",
        ),
    ),
)

CANCEL = Command(
    "cancel",
    "cancel a row of a study, also while it runs; what has ended stays",
    "wsss cancel results/quickstart 'ViT alone' --because 'it is at chance'",
    _cancel,
    (
        RESULTS_OPTION,
        option(
            "row",
            nargs="?",
            metavar="ROW",
            help="the row's name, or the key of one of its trials [list the cancelled rows]",
        ),
        option("--study", metavar="NAME", help="where RESULTS holds several [the one with ROW]"),
        option("--because", metavar="TEXT", help="why; status and page show it"),
        option("--undo", action="store_true", help="take the row back; `wsss run` goes on with it"),
    ),
)
