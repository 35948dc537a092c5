"""Cancelling a row of a study, and taking it back, from what the ledger's plan holds.

The study's runs may go on meanwhile, here or elsewhere: they look for the mark that is written.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from reports.ledger import CancelledRow, cancel_row, cancelled_rows, finished_trials, take_row_back
from reports.storage import Location
from studies.status.ledger_rows import PlannedTrial, read_rows
from wsss_core.errors import InputError, nearest, quoted

LEAST_OF_A_KEY = 6
"""The fewest characters by which a trial's key may be named."""


@dataclass(frozen=True)
class RowOfStudy:
    """A row of a study in a ledger.

    Attributes:
        study: the study's name.
        name: the row's.
        trials: its planned trials.
        ended: how many of them have ended.
        needed_by: other rows that learn from its network, or are fused of it.
        mark: its mark, where it is cancelled.

    """

    study: str
    name: str
    trials: int
    ended: int
    needed_by: tuple[str, ...]
    mark: CancelledRow | None


def find_row(results: Location, named: str, study: str | None = None) -> RowOfStudy:
    """Return the row that a user names.

    Args:
        results: the results folder.
        named: the row's name, or the key of one of its trials or its first characters.
        study: the row's study; None: the only one that has such a row.

    Raises:
        InputError: no plan there, no such study or row, or several.

    """
    plan = read_plan(results, study)
    matching = [row for row in plan if row.configuration == named]
    if not matching and len(named) >= LEAST_OF_A_KEY:
        matching = [row for row in plan if row.trial_key.startswith(named)]
    found = sorted({(row.study, row.configuration) for row in matching})
    if not found:
        for of in sorted({row.study for row in plan}):
            # A row that has left the study's file, or got another name there.
            if (mark := cancelled_rows(results, of).get(named)) is not None:
                return RowOfStudy(of, named, 0, 0, (), mark)
        names = sorted({row.configuration for row in plan})
        raise InputError(
            f"{quoted(named)} is no row of {', '.join(sorted({row.study for row in plan}))}; "
            f"nearest: {nearest(named, names, 0)!r}"
        )
    if len(found) > 1:
        several = "; ".join(f"{name} of {of}" for of, name in found)
        raise InputError(f"{quoted(named)} names several rows: {several}; give --study or a name")
    (of, name), rows = found[0], [row for row in plan if row.study == found[0][0]]
    own = [row for row in rows if row.configuration == name]
    ended = finished_trials(results)
    return RowOfStudy(
        of,
        name,
        len(own),
        sum(row.trial_key in ended for row in own),
        tuple(_needing({row.training_runs[0] for row in own}, name, rows)),
        cancelled_rows(results, of).get(name),
    )


def read_plan(results: Location, study: str | None = None) -> list[PlannedTrial]:
    """Return the plan of a results folder, or of one of its studies.

    Raises:
        InputError: no plan there, or none of that study.

    """
    plan = read_rows(results, "plan", PlannedTrial)
    if not plan:
        raise InputError(
            f"{results}: no plan in a ledger there; expected a folder that `wsss run` wrote"
        )
    names = sorted({row.study for row in plan})
    if study is not None and study not in names:
        raise InputError(f"--study {study}: {results} holds {', '.join(names)}")
    return [row for row in plan if study in (None, row.study)]


def _needing(runs: Set[str], name: str, plan: Sequence[PlannedTrial]) -> list[str]:
    """Return the other rows, in order, that need training runs; those that share one too."""
    found = {
        row.configuration: None
        for row in plan
        if row.configuration != name and not runs.isdisjoint(row.training_runs)
    }
    return list(found)


def cancel(results: Location, row: RowOfStudy, reason: str | None = None) -> list[str]:
    """Mark a row as cancelled, and say in lines what that means.

    Raises:
        StorageError: the storage stays out of reach or is full.

    """
    mark = cancel_row(results, row.study, row.name, reason)
    cancelled = cancelled_rows(results, row.study)
    others = [name for name in row.needed_by if name not in cancelled]
    lines = [
        f"{row.name} of {row.study}: {mark}",
        f"{row.ended} of its {row.trials} planned trials have ended and stay; no other is run. A "
        "run that goes on ends a training of it at the end of its epoch",
    ]
    if others:
        lines.append(f"its network is still trained for {', '.join(others)}")
    return lines


def uncancel(results: Location, row: RowOfStudy) -> str:
    """Take a cancelled row back; say what goes on when.

    Raises:
        InputError: it is not cancelled.
        StorageError: the storage stays out of reach.

    """
    if row.mark is None:
        raise InputError(f"{quoted(row.name)} of {row.study} is not cancelled")
    take_row_back(results, row.study, row.name)
    return (
        f"{row.name} of {row.study} is no longer cancelled; `wsss run` asks for its "
        f"{row.trials - row.ended} trials that are left"
    )
