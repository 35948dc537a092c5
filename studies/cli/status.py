"""`wsss status`: how far a study is, from another terminal while it runs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence

from reports.storage.locations import located
from studies.status.model import StudyStatus
from studies.status.reading import Watcher
from studies.status.text import MARKS, describe_status, status_record

EVERY_S = 5.0


def add_status_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Callable[..., argparse.ArgumentParser],
) -> None:
    """Add `status`.

    Args:
        commands: of `wsss`.
        command: makes one of them, see `studies.cli.main`.

    """
    status = command(
        commands, "status", _status,
        "say how far a study is: done, running, failed and why, collapsed, remaining; exit code 1 "
        "if anything failed",
        "wsss status results/quickstart --watch",
    )  # fmt: skip
    status.add_argument("results", type=located, metavar="RESULTS", help="a path or a URI")
    status.add_argument(
        "--store", type=located, metavar="DIR", help="says what is running [RESULTS/store]"
    )
    status.add_argument("--study", metavar="NAME", help="where RESULTS holds several [all]")
    status.add_argument("--all", action="store_true", help="a row for every configuration")
    status.add_argument("--json", action="store_true", help="for scripts")
    status.add_argument(
        "--watch", nargs="?", type=float, const=EVERY_S, metavar="SECONDS",
        help=f"again and again until nothing is left to do [{EVERY_S:g}]",
    )  # fmt: skip


def _status(options: argparse.Namespace) -> int:
    watcher = Watcher(options.results, options.store, options.study)
    found = watcher.look()
    _show(found, options)
    while options.watch is not None and not _ended(found):
        try:
            time.sleep(max(0.1, options.watch))
        except KeyboardInterrupt:
            break
        found = watcher.look()
        _show(found, options)
    return int(any(one.failed or one.unrefined for one in found))


def _ended(found: Sequence[StudyStatus]) -> bool:
    return not any(
        one.goes_on or one.counts["to do"] or any(chain.remaining for chain in one.chains)
        for one in found
    )


def _show(found: Sequence[StudyStatus], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([status_record(one) for one in found]), flush=True)
        return
    size = shutil.get_terminal_size()
    rows = None if options.all else max(10, size.lines - 16) if sys.stdout.isatty() else 40
    plain = not _can_print("".join(MARKS.values()) + "×…")
    text = "\n\n".join(
        describe_status(one, width=size.columns, rows=rows, plain=plain) for one in found
    )
    if options.watch is not None and sys.stdout.isatty():
        text = f"\033[2J\033[H{text}"
    elif options.watch is not None:
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}\n"
    if plain:
        text = text.encode(sys.stdout.encoding or "ascii", "replace").decode(
            sys.stdout.encoding or "ascii"
        )
    print(text, flush=True)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
