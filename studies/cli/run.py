"""The commands `wsss plan` and `wsss run`."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from reports.storage import Location, below, is_uri, local_path
from studies.cli.common import (
    FAILED,
    INTERRUPTED,
    NO_PLUGINS_OPTION,
    Command,
    a_location,
    option,
    show,
)
from studies.cli.store import seconds
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from studies.formatting import duration, over_trials, trials_done
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.planning import Plan
    from studies.runner import RunResult
    from studies.spec.study import Study
    from studies.store import ArtifactStore


def opened_study(options: argparse.Namespace) -> "tuple[Study, Location, ArtifactStore]":
    """Return the study, the results folder and the store that the arguments name."""
    from studies.spec.loading import load_study

    study = load_study(options.spec, options.changes, options.variants)
    # Imported after the study is checked, as elsewhere here: a slip is told before they load.
    from studies.store import ArtifactStore

    results = options.results or Path("results") / study.study
    return study, results, ArtifactStore(options.store or below(results, "store"))


def _plan(options: argparse.Namespace) -> int:
    if options.slots is not None and options.slots < 1:
        raise InputError(f"--slots {options.slots}: expected 1 or more")
    study, results, store = opened_study(options)
    from studies.cli.plan_summary import TrialWork, summarise_plan
    from studies.cli.plan_text import describe_summary, plan_record
    from studies.planning import make_plan
    from studies.stages.other_code import named_otherwise

    plan = make_plan(study)
    found = summarise_plan(plan, store, results, at_once=options.slots)
    done = [trial.key for trial in found.trials if trial.state is TrialWork.DONE]
    segmented = [one.key for one in found.segments if one.state is TrialWork.DONE]
    otherwise = named_otherwise(results, done, segmented)
    if not options.json:
        show("\n".join([describe_summary(found, options.slots), *otherwise]))
    if options.check:
        _check(plan, results, store, options.address)
    elif options.address is not None:
        raise InputError("--address: plan asks the cluster only with --check; give --check too")
    if options.json:
        places = {"results": str(results), "store": str(store.where)}
        more = {"made_otherwise": otherwise, "checked": options.check}
        show_json(of_schema(Schema.PLAN, {**places, **plan_record(found), **more}))
    return 0


def _check(plan: "Plan", results: Location, store: "ArtifactStore", address: str | None) -> None:
    """Make the checks that `wsss run` makes before it trains, those of a search included."""
    from studies.preflight import kept_findings, preflight
    from studies.ray_tune.runner import check_cluster
    from studies.stages import RunContext

    results = results if is_uri(results) else local_path(results)
    pending = plan.pending_jobs(store)
    if plan.study.search is not None:
        from studies.search.candidates import first_jobs

        searched = first_jobs(plan.study, plan.image_sets[0])[1].jobs
        plan.jobs.update(searched)
        pending += searched.values()
    if not pending:
        show("nothing is left to run, so nothing is checked")
        return
    show("")
    preflight(plan, pending, store, results)
    for line in kept_findings(plan, results).lines():
        show(f"  {line}")
    check_cluster(plan, pending, RunContext.of(plan, store, results), address)


def run_from_options(options: argparse.Namespace, *, keep_segments: bool = False) -> int:
    """Run the missing trials of the study that the arguments name; return the exit code.

    Args:
        options: the arguments of `wsss run`.
        keep_segments: see `studies.runner.run_plan`.

    Raises:
        InputError: the arguments, the study or its data are not as they have to be.

    """
    from studies.scheduling.stopping import interrupt_on_terminate

    interrupt_on_terminate()
    study, results, store = opened_study(options)
    from reports.ledger.parts import finished_trials
    from studies.python_entry import search_and_run

    if options.in_process and options.end_stalled is not None:
        raise InputError("--end-stalled: a worker of Ray can be ended; leave out --in-process")
    if options.in_process and options.address is not None:
        raise InputError("--address: a cluster runs Ray; leave out --in-process")
    if study.search is not None:
        if options.in_process:
            raise InputError("--in-process: a search needs Ray Tune; leave the option out")
        if options.anew:
            raise InputError("--anew: a search learns from its trials; give it other --results")
    result = search_and_run(
        study,
        results,
        store,
        address=options.address,
        in_process=options.in_process,
        anew=options.anew,
        replace_plan=options.replace_plan,
        end_stalled=options.end_stalled,
        keep_segments=keep_segments,
    )
    with contextlib.suppress(InputError):
        # Merges the many small parts into one file, so that the next reader is fast.
        finished_trials(results)
    return _closing(result, results, options.again)


def _closing(result: "RunResult", results: Location, again: str) -> int:
    if result.trained or result.scored:
        also = f", {result.scored} trained before were scored" if result.scored else ""
        show(f"{result.trained} training runs{also}, in {duration(result.seconds)}")
    elif not (result.remaining or result.chains_remaining or result.segments_remaining):
        show(f"nothing to train: all {result.reused} trials were done ({result.seconds:.1f} s)")
    for state, named in (
        ("collapsed", result.collapsed),
        ("failed", result.failed),
        ("not refined", result.unrefined),
    ):
        _print_causes(state, named)
    for line in (*result.decisions, *result.cancelled):
        show(line)
    if result.stopped is not None:
        done, chains = result.trials - result.remaining, result.chains_remaining
        show(f"stopped by {result.stopped}: {trials_done(done, result.trials, chains)}")
    left = [f"{result.remaining} trials"] if result.remaining else []
    left += [over_trials(result.chains_remaining)] if result.chains_remaining else []
    left += [f"{result.segments_remaining} segmenters"] if result.segments_remaining else []
    if left:
        show(f"{' and '.join(left)} remain; go on with: {again}")
    show(f"next: wsss report {results}")
    failed = bool(result.failed or result.unrefined)
    if result.stopped is not None or (left and not failed):
        return INTERRUPTED
    return FAILED if failed else 0


def _print_causes(state: str, named: dict[str, str]) -> None:
    """Print the trials that did not end well: few with their errors, many grouped by cause."""
    from reports.results.failure_causes import Failure, causes, describe_causes

    found = causes(Failure(name, error) for name, error in named.items())
    if len(found) == len(named):
        for name, error in named.items():
            show(f"{state}: {name}: {error}", aside=True)
        return
    show(f"{state}: {len(named)}, with {len(found)} causes", aside=True)
    for line in describe_causes(found, limit=20):
        show(f"  {line}", aside=True)


SPEC_OPTIONS = (
    option("spec", metavar="SPEC", help="a YAML file or a shipped study's name"),
    option(
        "--variant",
        dest="variants",
        action="append",
        default=[],
        metavar="NAME",
        help="a variant of the study file, e.g. quick; may be repeated",
    ),
    option(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the study, e.g. training.epochs=5; may be repeated",
    ),
)
"""The options of a command that name a study."""

_STUDY_OPTIONS = (
    *SPEC_OPTIONS,
    option("--results", type=a_location, metavar="DIR", help="the ledger's folder [results/STUDY]"),
    option(
        "--store",
        type=a_location,
        metavar="DIR",
        help="trained networks and CAMs; one store may serve many studies [RESULTS/store]",
    ),
    option("--address", metavar="ADDR", help="a running Ray cluster [start Ray here]"),
    NO_PLUGINS_OPTION,
)

PLAN = Command(
    "plan",
    "list a study's trials, which of them are done, and the cost; train nothing",
    "wsss plan smoke_crops --set data.root=DIR --set seeds=[0,1]",
    _plan,
    (
        *_STUDY_OPTIONS,
        option(
            "--check",
            action="store_true",
            help="check all that a run needs: images, networks, and every node of the cluster",
        ),
        option(
            "--slots",
            type=int,
            metavar="N",
            help="trials at a time, for the estimate of wall time [as many as fit here]",
        ),
        JSON_OPTION,
    ),
)

RUN = Command(
    "run",
    "run the missing trials of a study",
    "wsss run quickstart --results results/quickstart",
    run_from_options,
    (
        *_STUDY_OPTIONS,
        option(
            "--in-process",
            action="store_true",
            help="run one trial after another without Ray, for debugging",
        ),
        option(
            "--anew",
            action="store_true",
            help="make trials again that other code, plug-ins or package versions made",
        ),
        option(
            "--replace-plan",
            action="store_true",
            help="let this study replace another one of its name in the ledger; the report then "
            "shows this one",
        ),
        option(
            "--end-stalled",
            type=seconds,
            metavar="AFTER",
            help="end a worker without progress for so long (30m, 2h) and start its training run "
            "or its refinement again [never]",
        ),
    ),
)
