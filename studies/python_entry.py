"""Planning and running a study from Python."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reports.progress import LOGGERS, bars_are_shown, logging_to
from reports.storage import Location, below, located
from studies.planning import Plan, make_plan
from studies.results import Results
from studies.spec.loading import StudySource, load_study
from studies.spec.study import Study
from wsss_core.errors import InputError

if TYPE_CHECKING:
    from studies.runner import RunResult
    from studies.store import ArtifactStore


def plan_study(study: StudySource) -> Plan:
    """Return the trials of a study and the training runs that they need; train nothing.

    Args:
        study: see `load_study`.

    Raises:
        InputError: the study is wrong, or its images cannot be found.

    Example:
        >>> plan = plan_study(load_study("quickstart", {"seeds": [0]}))
        >>> [trial.configuration for trial in plan.trials][:2]
        ['CNN alone', 'ViT alone']

    """
    return make_plan(load_study(study))


def run_study(
    study: StudySource,
    results: Location | None = None,
    *,
    store: Location | None = None,
    in_process: bool = False,
    address: str | None = None,
    anew: bool = False,
    replace_plan: bool = False,
    end_stalled: float | None = None,
) -> Results:
    """Run the trials of a study that are missing, and return its results.

    Running again goes on: what is finished is kept. A trial that fails does not end the run; a
    warning names it, and the results show its error.

    Args:
        study: see `load_study`.
        results: the folder of what is measured, a path or a URI; None: `results/NAME`.
        store: the folder of trained networks and CAMs, which several studies may share; None:
            `store` in the results folder.
        in_process: use no Ray: run one trial after another in this process.
        address: of a running Ray cluster; None starts Ray on this machine.
        anew: make trials again that other code, plug-ins or versions made.
        replace_plan: let this study replace another one that has its name in these results.
        end_stalled: seconds without progress after which the worker of a training run is ended and
            the run started again; None: never.

    Raises:
        InputError: the study is wrong, or a check before the run finds a fault.
        StorageError: a storage stays away or is full; what is finished is kept.
        KeyboardInterrupt: Ctrl-C or the kernel's stop button; what is finished is kept, and
            `open_results` reads it.

    Example:
        >>> import tempfile
        >>> small = {"data.size": 32, "data.train": 16, "data.tune": 8, "data.test": 8}
        >>> alone = [{"paradigm": "single", "student": "cnn"}]
        >>> changes = {**small, "configurations": alone, "seeds": [0], "training.epochs": 1}
        >>> study = load_study("quickstart", changes)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = run_study(study, folder, in_process=True)
        ...     frame = results.outcomes(split="test", rule="tuned")
        >>> frame[["configuration", "seed", "status"]].values.tolist()
        [['CNN alone', 0, 'ok']]

    """
    with _lines_without_bars():
        done = _ran(
            load_study(study),
            results,
            store,
            in_process=in_process,
            address=address,
            anew=anew,
            replace_plan=replace_plan,
            end_stalled=end_stalled,
        )
    assert done.run is not None
    _warn(done.run)
    return done


@contextlib.contextmanager
def _lines_without_bars() -> Iterator[None]:
    """Print log messages to standard error where no bar and no logging of the caller's is."""
    if bars_are_shown() or any(logger.hasHandlers() for logger in LOGGERS):
        yield
        return
    with logging_to(logging.StreamHandler(sys.stderr)):
        yield


def _ran(
    checked: Study,
    results: Location | None,
    store: Location | None,
    *,
    in_process: bool,
    address: str | None,
    anew: bool,
    replace_plan: bool,
    end_stalled: float | None,
) -> Results:
    """Run a study, see `run_study`."""
    if in_process and end_stalled is not None:
        raise InputError("end_stalled: a worker of Ray can be ended; leave out in_process")
    if in_process and address is not None:
        raise InputError("address: a cluster runs Ray; leave out in_process")
    if checked.search is not None and in_process:
        raise InputError("in_process: a search needs Ray Tune; leave it out")
    if checked.search is not None and anew:
        raise InputError("anew: a search learns from its trials; give it other results")
    from studies.store import ArtifactStore

    folder = located(str(results or Path("results") / checked.study))
    kept = None if store is None else located(str(store))
    artifacts = ArtifactStore(kept or below(folder, "store"))
    result = search_and_run(
        checked,
        folder,
        artifacts,
        address=address,
        in_process=in_process,
        anew=anew,
        replace_plan=replace_plan,
        end_stalled=end_stalled,
    )
    if result.stopped is not None:
        done = result.trials - result.remaining
        raise KeyboardInterrupt(
            f"stopped by {result.stopped}: {done} of {result.trials} trials are done; "
            f"run_study goes on, open_results({str(folder)!r}) reads what is finished"
        )
    return Results(folder, kept, checked.study, run=result)


def search_and_run(
    study: Study,
    results: Location,
    store: "ArtifactStore",
    *,
    address: str | None,
    in_process: bool,
    anew: bool,
    replace_plan: bool,
    end_stalled: float | None,
    keep_segments: bool = False,
) -> "RunResult":
    """Run a study's search if it has one, then its trials and those that the search found.

    Arguments and errors are those of `studies.runner.run_plan`.
    """
    from studies.runner import run_plan

    if study.search is not None:
        from studies.search.run import run_search

        study = run_search(
            study,
            results,
            store,
            address=address,
            replace_plan=replace_plan,
            end_stalled=end_stalled,
        )
    return run_plan(
        make_plan(study),
        results,
        store,
        address=address,
        in_process=in_process,
        anew=anew,
        replace_plan=replace_plan,
        end_stalled=end_stalled,
        keep_segments=keep_segments,
    )


def _warn(result: "RunResult") -> None:
    """Warn of trials that did not end well."""
    for state, named in (
        ("failed", result.failed),
        ("not refined", result.unrefined),
        ("collapsed", result.collapsed),
    ):
        if named:
            name, error = next(iter(named.items()))
            more = f"; and {len(named) - 1} more, see .trials" if len(named) > 1 else ""
            warnings.warn(f"{state}: {name}: {error}{more}", stacklevel=3)
