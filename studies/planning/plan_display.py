"""A plan at a prompt and in a notebook, and in a line how its configurations are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from studies.formatting import aligned
from studies.planning.folds import fold_lines
from studies.planning.job import decoupling_in_words

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
    more += plan.joined
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


@dataclass(frozen=True)
class RecipeInPlan:
    """How some configurations of a plan are trained: in a line, and their names."""

    text: str
    configurations: tuple[str, ...]


def recipes_of(plan: "Plan") -> tuple[RecipeInPlan, ...]:
    """Return how the configurations and segmenters of a plan are trained, each recipe once."""
    found: dict[str, dict[str, None]] = {}
    for job in (job for job in plan.jobs.values() if not job.members):
        line = recipe_line(job.settings["training"]) + decoupling_in_words(job.settings)
        names = found.setdefault(line, {})
        names.update(dict.fromkeys(trial.configuration for trial in job.trials))
    for run in (run for run in plan.segments if not run.single_stage):
        settings = asdict(run.fit)
        line = "segmenter: " + recipe_line({**settings, "iterations": settings["steps"]})
        names = found.setdefault(line, {})
        names.update(dict.fromkeys(scoring.entry for scoring in run.scorings))
    return tuple(RecipeInPlan(text, tuple(names)) for text, names in found.items() if names)


def recipe_line(training: Mapping[str, Any]) -> str:
    """Return the settings of a training run as `wsss plan` prints them.

    >>> recipe_line({"learning_rate": 0.01, "weight_decay": 5e-4, "warmup": 0, "batch_size": 8,
    ...     "schedule": "poly", "iterations": 20000, "rescale": [0.5, 2.0]})
    'AdamW, rate 0.01, poly (0.9), weight decay 0.0005, 20000 steps of 8, rescale 0.5 to 2'
    """
    sgd = training.get("optimizer") == "sgd"
    parts = [f"SGD (momentum {training.get('momentum', 0.9):g})" if sgd else "AdamW"]
    rate = f"rate {training['learning_rate']:g}"
    if "head_multiple" in training:
        rate += f" (heads x {training['head_multiple']:g})"
    schedule = str(training["schedule"])
    if schedule == "poly":
        schedule += f" ({training.get('power', 0.9):g})"
    if training["warmup"]:
        schedule += f" after a warm-up of {100 * training['warmup']:g} % of the steps"
    parts += [rate, schedule, f"weight decay {training['weight_decay']:g}"]
    if iterations := training.get("iterations"):
        parts.append(f"{iterations} steps of {training['batch_size']}")
    else:
        epochs = "1 epoch" if training["epochs"] == 1 else f"{training['epochs']} epochs"
        parts.append(f"{epochs} in batches of {training['batch_size']}")
    return ", ".join([*parts, *_views(training)])


def _views(training: Mapping[str, Any]) -> list[str]:
    said = []
    if training.get("sampling") == "balanced":
        said.append("classes balanced")
    if factors := training.get("rescale"):
        said.append(f"rescale {factors[0]:g} to {factors[1]:g}")
    if training.get("flip"):
        said.append("flips")
    if jitter := training.get("jitter"):
        said.append("jitter " + "/".join(f"{strength:g}" for strength in jitter))
    if operations := training.get("randaugment"):
        said.append(f"RandAugment {operations[0]} x {operations[1]}")
    if share := training.get("cutmix"):
        said.append(f"CutMix of {100 * share:g} %")
    if decay := training.get("ema"):
        said.append(f"weights averaged ({decay:g})")
    return said
