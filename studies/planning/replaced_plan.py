"""The plan that a ledger holds under a study's name, and what a new plan of that name replaces.

A ledger keeps one plan for each name, and the report shows the trials of that plan alone. A change
of seeds or configurations replaces the plan, and the run says so; another study of the same name is
refused unless it is asked for.
"""

import json
import time

from reports.ledger.parts import LedgerError, part_name, read_arrow, table_folder
from reports.storage import Location
from studies.planning.plan import Plan
from wsss_core.errors import InputError, quoted

_COLUMNS = ("study_title", "trial_key", "artifacts")


def replaced_by(plan: Plan, results: Location, *, asked: bool = False) -> str | None:
    """Return a line about the trials of the ledger's plan that a new plan lacks; None without any.

    Args:
        plan: the new plan.
        results: the folder of the ledger.
        asked: whether another study may replace the one of its name.

    Raises:
        InputError: the ledger's plan is another study's: its title or all of its data differ.

    """
    name = plan.study.file_name
    try:
        rows = read_arrow(results, "plan", keys=[name], columns=_COLUMNS).to_pylist()
    except LedgerError:
        return None  # nobody knows what it was; it is written anew
    lost = {row["trial_key"] for row in rows} - {trial.key for trial in plan.trials}
    if not lost:
        return None
    entry = table_folder(results, "plan").listing().get(part_name(name))
    its = f"the plan of {_moment(entry.modified)}" if entry and entry.modified else "its last plan"
    other = _difference(plan, rows[0]["study_title"], [json.loads(r["artifacts"]) for r in rows])
    if other is not None and not asked:
        raise InputError(
            f"{results}: {its} under the name {plan.study.study} is of another study ({other}); "
            "give this one another name or other --results, or --replace-plan, and the report "
            f"shows this one ({len(lost)} trials of the other stay in the ledger)"
        )
    return (
        f"{its} had {len(lost)} other trials; they stay in the ledger, the report shows this plan"
    )


def _difference(plan: Plan, title: str, artifacts: list[dict[str, list[str]]]) -> str | None:
    """Return how another study differs from a plan's, in words; None where it is the same."""
    if title != plan.study.title:
        return f"its title is {quoted(title)}, not {quoted(plan.study.title)}"
    data = {key for job in plan.jobs.values() for key in job.artifacts["images"]}
    if data.isdisjoint(key for of_trial in artifacts for key in of_trial["images"]):
        return "its data are others"
    return None


def _moment(modified: float) -> str:
    """Return a moment by this machine's clock: its time of day, and its day if not today."""
    there, today = time.localtime(modified), time.localtime()
    same_day = there[:3] == today[:3]
    return time.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M", there)
