"""The command `wsss`: plan, run, report, data.

Bad input is one line on standard error and exit code 2; failed trials are exit code 1; a run
broken off by Ctrl-C is 130. Heavy libraries are loaded by the command that needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.artifacts import ArtifactStore
    from studies.runner import RunResult
    from studies.spec import Study

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except InputError as error:
        print(f"wsss: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("wsss: interrupted; what is finished is kept", file=sys.stderr)
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
        commands, "plan", _plan, "list a study's trials and what is cached; nothing runs",
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
            "--results", type=Path, metavar="DIR", help="the ledger's folder [results/STUDY]"
        )
        command.add_argument(
            "--store", type=Path, metavar="DIR",
            help="trained networks and CAMs; one store may serve many studies [RESULTS/store]",
        )  # fmt: skip
    run.add_argument(
        "--address", metavar="ADDR", help="a running Ray cluster; without it, Ray starts here"
    )
    run.add_argument(
        "--in-process", action="store_true", help="no Ray: one trial after another, for debugging"
    )

    report = _command(
        commands, "report", _report, "make the page, tables and figures from a results folder",
        "wsss report results/quickstart",
    )  # fmt: skip
    report.add_argument("results", type=Path, metavar="RESULTS")
    report.add_argument("--out", type=Path, metavar="DIR", help="[RESULTS/report]")

    data = commands.add_parser(
        "data",
        help="make and check data sets",
        description="make and check data sets",
        epilog="Example: wsss data check DIR",
    )
    kinds = data.add_subparsers(required=True, metavar="WHAT")
    scenes = _command(
        kinds, "scenes", _data_scenes, "write procedural smoke scenes as a folder data set",
        "wsss data scenes scenes --train 1500 --chimney-given-clear 0.4",
    )  # fmt: skip
    scenes.add_argument("out", type=Path, metavar="DIR", help="made; must be new or empty")
    for name, default in (("size", 64), ("train", 1500), ("tune", 150), ("test", 300), ("seed", 0)):
        scenes.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    shares = (
        ("smoke", 0.5), ("chimney-given-smoke", 0.95), ("chimney-given-clear", 0.4), ("steam", 0.0),
        ("cooling-tower-given-steam", 0.95), ("cooling-tower-given-clear", 0.4),
    )  # fmt: skip
    for name, value in shares:
        scenes.add_argument(f"--{name}", type=float, default=value, help=f"[{value}]")
    check = _command(
        kinds, "check", _data_check, "read every file of a folder data set and say what it holds",
        "wsss data check DIR",
    )  # fmt: skip
    check.add_argument("root", type=Path, metavar="DIR")
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


def _opened(options: argparse.Namespace) -> tuple[Study, Path, ArtifactStore]:
    """The study, the results folder and the store that the arguments name."""
    from studies.artifacts import ArtifactStore
    from studies.spec_file import load_study

    study = load_study(options.spec, options.changes, options.variants)
    results = options.results or Path("results") / study.study
    return study, results, ArtifactStore(options.store or results / "store")


def _plan(options: argparse.Namespace) -> int:
    from studies.plan import make_plan
    from studies.plan_listing import describe

    study, results, store = _opened(options)
    print(describe(make_plan(study), store, results))
    return 0


def _run(options: argparse.Namespace) -> int:
    from studies.plan import make_plan
    from studies.runner import run_study

    def say(line: str) -> None:
        print(line, flush=True)

    study, results, store = _opened(options)
    if study.search is not None:
        if options.in_process:
            raise InputError("--in-process: a search is Ray Tune's; leave the option out")
        from studies.search import run_search

        study = run_search(study, results, store, address=options.address, say=say)
    result = run_study(
        make_plan(study),
        results,
        store,
        address=options.address,
        in_process=options.in_process,
        say=say,
    )
    return _closing(result, results)


def _closing(result: RunResult, results: Path) -> int:
    from studies.progress import duration

    if result.trained or result.scored:
        also = f", {result.scored} trained before were scored" if result.scored else ""
        print(f"{result.trained} training runs{also}, in {duration(result.seconds)}")
    elif not result.remaining:
        print(f"nothing to train: all {result.reused} trials were done ({result.seconds:.1f} s)")
    for state, named in (("collapsed", result.collapsed), ("failed", result.failed)):
        for name, error in named.items():
            print(f"{state}: {name}: {error}", file=sys.stderr)
    if result.remaining:
        print(f"{result.remaining} trials remain; the same command goes on with them")
    print(f"next: wsss report {results}")
    if result.remaining and not result.failed:
        return INTERRUPTED
    return 1 if result.failed else 0


def _report(options: argparse.Namespace) -> int:
    from reports import make_report

    files = make_report(options.results, options.out or options.results / "report")
    print(files.html)
    return 0


def _data_scenes(options: argparse.Namespace) -> int:
    from wsss_core.data.scene_source import SceneSource, contact_sheet, write_scenes
    from wsss_core.data.scenes import SceneSettings

    settings = SceneSettings(
        size=options.size,
        smoke=options.smoke,
        chimney_given_smoke=options.chimney_given_smoke,
        chimney_given_clear=options.chimney_given_clear,
        steam=options.steam,
        cooling_tower_given_steam=options.cooling_tower_given_steam,
        cooling_tower_given_clear=options.cooling_tower_given_clear,
        seed=options.seed,
    )
    source = SceneSource(settings, train=options.train, tune=options.tune, test=options.test)
    write_scenes(source, options.out)
    sheet = options.out / "contact_sheet.png"
    contact_sheet(settings).save(sheet)
    print(f"{options.train + options.tune + options.test} scenes in {options.out}; see {sheet}")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from wsss_core.data.folder import FolderSource

    print(FolderSource(options.root).check().describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
