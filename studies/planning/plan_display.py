"""A plan at a prompt and in a notebook: a row for each trial."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from studies.formatting import aligned
from studies.planning.folds import fold_lines

if TYPE_CHECKING:
    from studies.planning.plan import Plan

MOST_ROWS = 60
"""The most trials that are shown; a study may have thousands."""


def plan_as_text(plan: "Plan") -> str:
    """Return a plan as lines: the study, its trials, what they need."""
    header, rows = _table(plan)
    study, table = plan.study, aligned([header, *rows])
    return "\n".join([f"{study.study}: {study.title}", "", table, *_rest(plan), "", _sum(plan)])


def plan_as_html(plan: "Plan") -> str:
    """Return a plan as an HTML table; everything is escaped."""
    header, rows = _table(plan)
    study = plan.study

    def line(texts: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"

    below = [*_rest(plan), _sum(plan)]
    return "\n".join(
        [
            f"<p><b>{escape(study.study)}</b>: {escape(study.title)}</p>",
            f"<table><thead>{line(header, 'th')}</thead><tbody>",
            *(line(row, "td") for row in rows),
            "</tbody></table>",
            *(f"<p>{escape(text)}</p>" for text in below),
        ]
    )


def _table(plan: "Plan") -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the first trials."""
    sweep = plan.study.sweep
    owner = {trial.key: job for job in plan.jobs.values() for trial in job.trials}
    folded = bool(plan.folds)
    header = ["configuration", *([sweep.name] if sweep else []), "seed"]
    header += [*(["fold"] if folded else []), "trial", "training run", "waits for"]
    rows = []
    for trial in plan.trials[:MOST_ROWS]:
        job = owner[trial.key]
        value = [f"{trial.sweep_value:g}"] if sweep else []
        keys = [trial.key, job.key, ", ".join(job.needs) or "–"]
        places = [str(trial.seed), *([str(trial.fold)] if folded else [])]
        rows.append([trial.configuration, *value, *places, *keys])
    return header, rows


def _rest(plan: "Plan") -> list[str]:
    left = len(plan.trials) - MOST_ROWS
    more = [f"... and {left} more"] if left > 0 else []
    return [*more, "", *fold_lines(plan.folds)] if plan.folds else more


def _sum(plan: "Plan") -> str:
    said = f"{len(plan.trials)} trials, {len(plan.jobs)} training runs"
    if unreported := sum(not job.trials for job in plan.jobs.values()):
        said += f" ({unreported} of them teachers that no row reports)"
    if chains := [chain.name for chain in plan.runnable_chains]:
        said += f"; refinement: {', '.join(chains)}"
    if plan.segments:
        entries = list(dict.fromkeys(s.entry for job in plan.segments for s in job.scorings))
        said += f"; {len(plan.segments)} segmentation runs: {', '.join(entries)}"
    if plan.study.search is not None:
        said += f"; before them a search of {plan.study.search.trials} configurations"
    return said
