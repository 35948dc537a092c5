"""The command `wsss`: plan, run, status, report, thresholds, masks, store, data.

Bad input is one line on standard error and exit code 2; failed trials are exit code 1, as is a
storage that is full or stays away; a run ended by Ctrl-C or SIGTERM is 130. Heavy libraries are
loaded by the command that needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.storage.folder import Location, StorageError, below, is_uri, local_path, located
from studies.cli.common import log_to_terminal
from studies.cli.data import add_data_commands
from studies.cli.masks import add_masks_command
from studies.cli.status import add_status_command
from studies.cli.store import add_store_commands
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.planning.plan import Plan
    from studies.runner import RunResult
    from studies.spec.study import Study
    from studies.store.artifacts import ArtifactStore

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    options.again = shlex.join(["wsss", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with log_to_terminal(aside=getattr(options, "aside", False)):
            return int(options.command(options))
    except StorageError as error:
        print(f"wsss: {error}", file=sys.stderr)
        print(f"what is finished is kept; go on with: {options.again}", file=sys.stderr)
        return FAILED
    except InputError as error:
        print(f"wsss: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(
            f"wsss: interrupted; what is finished is kept; go on with: {options.again}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; not to fail again when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsss",
        description="Studies of weakly supervised semantic segmentation.",
        epilog="Begin with: wsss run quickstart && wsss report results/quickstart",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = _command(
        commands, "plan", _plan,
        "list a study's trials, what is cached and what it costs; nothing is trained",
        "wsss plan smoke_crops --set data.root=DIR --set seeds=[0,1]",
    )  # fmt: skip
    run = _command(
        commands, "run", _run, "run what is missing of a study",
        "wsss run quickstart --results results/quickstart",
    )  # fmt: skip
    for command in (plan, run):
        command.add_argument("spec", metavar="SPEC", help="a YAML file or a shipped study's name")
        command.add_argument(
            "--variant", dest="variants", action="append", default=[], metavar="NAME",
            help="one of the study file's variants, e.g. quick; may be given again",
        )  # fmt: skip
        command.add_argument(
            "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
            help="change a key of the study, e.g. training.epochs=5; may be given again",
        )  # fmt: skip
        command.add_argument(
            "--results", type=located, metavar="DIR", help="the ledger's folder [results/STUDY]"
        )
        command.add_argument(
            "--store", type=located, metavar="DIR",
            help="trained networks and CAMs; one store may serve many studies [RESULTS/store]",
        )  # fmt: skip
        command.add_argument(
            "--address", metavar="ADDR", help="a running Ray cluster; without it, Ray starts here"
        )
    plan.add_argument(
        "--check", action="store_true",
        help="try all that a run needs: images, networks, and every node of the cluster",
    )  # fmt: skip
    plan.add_argument(
        "--slots", type=int, metavar="N",
        help="trials at a time for the wall time's estimate [what fits on this machine]",
    )  # fmt: skip
    run.add_argument(
        "--in-process", action="store_true", help="no Ray: one trial after another, for debugging"
    )

    report = _command(
        commands, "report", _report, "make the page, tables and figures from a results folder",
        "wsss report results/quickstart",
    )  # fmt: skip
    report.set_defaults(aside=True)
    report.add_argument("results", type=located, metavar="RESULTS")
    report.add_argument("--out", type=Path, metavar="DIR", help="[RESULTS/report]")

    thresholds = _command(
        commands, "thresholds", _thresholds,
        "list every chosen threshold, its IoU and the price of not knowing the masks",
        "wsss thresholds results/quickstart",
    )  # fmt: skip
    thresholds.set_defaults(aside=True)
    thresholds.add_argument("results", type=located, metavar="RESULTS")
    thresholds.add_argument(
        "--out", type=Path, metavar="DIR",
        help="choices and curves as Parquet [RESULTS/report/tables]",
    )  # fmt: skip

    add_masks_command(commands, _command)
    add_status_command(commands, _command)
    add_store_commands(commands, _command)
    add_data_commands(commands, _command)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: object,
    help_text: str,
    example: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=help_text, description=help_text, epilog=f"Example: {example}"
    )
    command.set_defaults(command=function)
    return command


def _opened(options: argparse.Namespace) -> tuple[Study, Location, ArtifactStore]:
    """The study, the results folder and the store that the arguments name."""
    from studies.spec.loading import load_study
    from studies.store.artifacts import ArtifactStore

    study = load_study(options.spec, options.changes, options.variants)
    results = options.results or Path("results") / study.study
    return study, results, ArtifactStore(options.store or below(results, "store"))


def _plan(options: argparse.Namespace) -> int:
    from studies.cli.plan_text import describe
    from studies.planning.planner import make_plan

    if options.slots is not None and options.slots < 1:
        raise InputError(f"--slots {options.slots}: expected 1 or more")
    study, results, store = _opened(options)
    plan = make_plan(study)
    print(describe(plan, store, results, at_once=options.slots), flush=True)
    if options.check:
        _check(plan, results, store, options.address)
    elif options.address is not None:
        raise InputError("--address: a plan alone asks no cluster; give --check too")
    return 0


def _check(plan: Plan, results: Location, store: ArtifactStore, address: str | None) -> None:
    """What `wsss run` would check before it trains, a study's search included."""
    from studies.ray_tune.runner import check_cluster
    from studies.runner import run_context
    from studies.stages.preflight import preflight

    def say(line: str) -> None:
        print(line, flush=True)

    results = results if is_uri(results) else local_path(results)
    pending = plan.pending(store)
    if plan.study.search is not None:
        from studies.search.candidates import first_units

        searched = first_units(plan.study, plan.image_sets[0])[1].units
        plan.units.update(searched)
        pending += searched.values()
    if not pending:
        say("nothing is left to run, so nothing is checked")
        return
    say("")
    preflight(plan, pending, store, results, say)
    check_cluster(plan, pending, run_context(plan, store, results), address, say)


def _run(options: argparse.Namespace) -> int:
    from reports.ledger.parts import finished_trials
    from studies.planning.planner import make_plan
    from studies.runner import run_study
    from studies.scheduling.stopping import interrupt_on_terminate

    interrupt_on_terminate()

    def say(line: str) -> None:
        print(line, flush=True)

    study, results, store = _opened(options)
    if study.search is not None:
        if options.in_process:
            raise InputError("--in-process: a search is Ray Tune's; leave the option out")
        from studies.search.run import run_search

        study = run_search(study, results, store, address=options.address, say=say)
    result = run_study(
        make_plan(study),
        results,
        store,
        address=options.address,
        in_process=options.in_process,
        say=say,
    )
    with contextlib.suppress(InputError):
        # Leaves many small parts in one file, for those who look next.
        finished_trials(results)
    return _closing(result, results, options.again)


def _closing(result: RunResult, results: Location, again: str) -> int:
    from studies.formatting import duration

    if result.trained or result.scored:
        also = f", {result.scored} trained before were scored" if result.scored else ""
        print(f"{result.trained} training runs{also}, in {duration(result.seconds)}")
    elif not result.remaining:
        print(f"nothing to train: all {result.reused} trials were done ({result.seconds:.1f} s)")
    ended = (
        ("collapsed", result.collapsed), ("failed", result.failed),
        ("not refined", result.unrefined),
    )  # fmt: skip
    for state, named in ended:
        _say_causes(state, named)
    if result.stopped is not None:
        done = result.trials - result.remaining
        print(f"stopped by {result.stopped}: {done} of {result.trials} trials are done")
    if result.remaining:
        print(f"{result.remaining} trials remain; go on with: {again}")
    print(f"next: wsss report {results}")
    failed = bool(result.failed or result.unrefined)
    if result.stopped is not None or (result.remaining and not failed):
        return INTERRUPTED
    return FAILED if failed else 0


def _say_causes(state: str, named: dict[str, str]) -> None:
    """What did not end well: few with their errors, many grouped by cause."""
    from reports.results.failure_causes import Failure, causes, describe_causes

    found = causes(Failure(name, error) for name, error in named.items())
    if len(found) == len(named):
        for name, error in named.items():
            print(f"{state}: {name}: {error}", file=sys.stderr)
        return
    print(f"{state}: {len(named)}, of {len(found)} causes", file=sys.stderr)
    for line in describe_causes(found, limit=20):
        print(f"  {line}", file=sys.stderr)


def _own_folder(options: argparse.Namespace) -> Path:
    """Where a command writes beside its results; what lies at a URI is written to this folder."""
    if is_uri(options.results):
        return Path("results") / str(options.results).rpartition("/")[2]
    return Path(options.results)


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report(options: argparse.Namespace) -> int:
    from reports import make_report

    files = make_report(
        options.results,
        options.out or _own_folder(options) / "report",
        processes=_cores(),
        say=_say_aside,
    )
    print(files.html)
    return 0


def _thresholds(options: argparse.Namespace) -> int:
    from reports.threshold_listing import list_thresholds

    out = options.out or _own_folder(options) / "report" / "tables"
    listing = list_thresholds(options.results, out, processes=_cores(), say=_say_aside)
    print(listing.text, *(f"wrote {file}" for file in listing.files), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
