"""Writes what `wsss plan` prints: the trials, which are finished, and the cost of the others."""

from dataclasses import asdict
from typing import Any

from reports.storage import Location
from studies.cli.plan_summary import CostOfPlan, PlanSummary, TrialWork, summarise_plan
from studies.formatting import duration, in_bytes, over_trials
from studies.planning import Estimate, Plan, fold_lines
from studies.store import ArtifactStore


def describe_plan(
    plan: Plan, store: ArtifactStore, results: Location, *, at_once: int | None = None
) -> str:
    """Return a plan for a terminal; the arguments are those of `summarise_plan`."""
    return describe_summary(summarise_plan(plan, store, results, at_once=at_once), at_once)


def describe_summary(plan: PlanSummary, at_once: int | None = None) -> str:
    """Return a plan's trials with their keys and states, and the cost of the work that is left."""
    lines = [f"{plan.study}: {plan.title}", ""]
    width = max((len(trial.configuration) for trial in plan.trials), default=0)
    fold = "fold  " if plan.folds else ""
    lines.append(f"{'configuration':{width}}  seed  {fold}trial                 state")
    for trial in plan.trials:
        at = "" if trial.sweep_value is None else f"  {plan.sweep} = {trial.sweep_value:g}"
        fold = "" if trial.fold is None else f"{trial.fold:4}  "
        lines.append(
            f"{trial.configuration:{width}}  {trial.seed:4}  {fold}{trial.key}  {trial.work}{at}"
        )
    if plan.folds:
        lines += ["", *fold_lines(plan.folds)]
    lines += [
        "",
        f"{len(plan.trials)} trials, {plan.training_runs} training runs to do"
        + (f" ({plan.teachers} of them teachers that no row reports)" if plan.teachers else "")
        + f": {plan.passes} passes over the training images",
    ]
    lines += plan.windows
    if plan.recipes:
        lines += ["", "training:"]
    for recipe in plan.recipes:
        lines.append(f"  {recipe.text}")
        if len(plan.recipes) > 1:
            lines.append(f"    {'; '.join(recipe.configurations)}")
    lines += _features(plan)
    if plan.chains:
        lines += ["", "refinement, beside the plain CAM:"]
    for chain in plan.chains:
        done = f"done over {chain.done} of {chain.trials} trials"
        lines.append(
            f"  {chain.name}: {done if chain.lacks is None else f'not run, {chain.lacks}'}"
        )
    if plan.segments:
        runs = {
            one.segmentation_run
            for one in plan.segments
            if one.state not in _TRAINED and not one.is_decoder
        }
        lines += ["", f"segmenters, {len(runs)} segmentation runs to do:"]
    wide = max((len(one.entry) for one in plan.segments), default=0)
    for one in plan.segments:
        at = "" if one.sweep_value is None else f"  {plan.sweep} = {one.sweep_value:g}"
        fold = "" if one.fold is None else f"{one.fold:4}  "
        lines.append(
            f"  {one.entry:{wide}}  {one.seed:4}  {fold}{one.key}  {one.work}; {one.labels}{at}"
        )
    if plan.search is not None:
        search = plan.search
        lines.append(
            f"before them a search: {search.trials} configurations, {search.tried} of them tried; "
            f"seeds each: up to {search.seeds}; of them join the rows above: the best "
            f"{search.confirm}; the cost is that of all; ASHA saves some of it by stopping poor "
            "ones early"
        )
    if plan.cancelled:
        lines += ["", *(row.line for row in plan.cancelled)]
    if plan.decide is not None:
        lines += ["", *plan.decide.lines()]
    if plan.cost is not None:
        lines += ["", *_cost(plan.cost, at_once)]
    elif plan.pending:
        lines += [
            "",
            "no trial of this results folder is measured yet: the first ones give the estimate",
        ]
    return "\n".join(lines)


_TRAINED = (TrialWork.DONE, TrialWork.TO_SCORE)


def _features(plan: PlanSummary) -> list[str]:
    """Return the maps of frozen networks that are made once, as lines."""
    if not plan.features:
        return []
    lines = ["", "maps of frozen networks, made once and read by every trial:"]
    for maps in plan.features:
        price = maps.bytes_an_image
        each = "" if price is None else f", {in_bytes(price)} an image and view"
        left = maps.artifacts - maps.made
        lines.append(
            f"  {maps.role} {maps.network}, {maps.dtype}{each}: {left} of {maps.artifacts} to make"
        )
    return lines


def _cost(cost: CostOfPlan, at_once: int | None) -> list[str]:
    """Return the cost of the work that is left, as lines."""
    left = cost.left
    stages = {
        "training": left.training,
        "scoring": left.scoring,
        "refinement": left.refinement,
        "segmenters": left.segmentation,
    }
    measured = f"{cost.measured_trials}, {cost.device}"
    trials = ", ".join(f"{name} {duration(s)}" for name, s in stages.items() if s)
    lines = [
        f"cost of what is left, from the trials measured here ({measured}):",
        f"  trials     {trials or 'none'}",
        f"  resources  {_hours(left)}",
        f"  wall time  {_wall(left, at_once)}",
    ]
    if cost.money is not None:
        name = "GPU" if cost.with_gpu else "CPU-core"
        lines.append(
            f"  money      about {cost.money:.2f}, at {cost.price_per_hour:g} a {name}-hour"
        )
    if left.unmeasured:
        lines.append(
            f"  {left.unmeasured} training runs are of kinds that no trial has measured: predicted "
            "by their passes over the images, from the time that all others need for one"
        )
    if left.unmeasured_chains:
        lines.append(
            f"  beside it {over_trials(left.unmeasured_chains)}, which no trial has measured yet"
        )
    if left.unmeasured_segments:
        lines.append(
            f"  beside it {left.unmeasured_segments} segmentation runs, as none was measured yet"
        )
    if cost.lacks_gpu:
        lines.append("  the study asks for GPUs, but the times are those of trials without one")
    return lines


def _hours(left: Estimate) -> str:
    """Return hours of resources in words, those that are 0 left out."""
    amounts = ((left.gpu_hours, "GPU"), (left.core_hours, "CPU-core"))
    said = [(f"{hours:.3g}", name) for hours, name in amounts if hours]
    return ", ".join(f"{n} {name}-hour{'' if n == '1' else 's'}" for n, name in said) or "none"


def _wall(left: Estimate, at_once: int | None) -> str:
    if left.wall is None:
        return (
            f"unknown: {left.unfitting!r} does not fit on this machine; "
            "--slots N estimates it for N trials at a time"
        )
    fewest, most = left.at_once
    several = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    where = "" if at_once else " on this machine; --slots N estimates it for N"
    return f"about {duration(left.wall)}, with {several} at a time{where}"


def plan_record(summary: PlanSummary) -> dict[str, Any]:
    """Return a plan as plain values, for scripts; `docs/commands.md` describes them."""
    states = [trial.state for trial in summary.trials]
    cost = summary.cost
    estimated = None
    if cost is not None:
        estimated = {
            "measured_trials": cost.measured_trials,
            "device": cost.device,
            "training_seconds": cost.left.training,
            "scoring_seconds": cost.left.scoring,
            "refinement_seconds": cost.left.refinement,
            "segmentation_seconds": cost.left.segmentation,
            "gpu_hours": cost.left.gpu_hours,
            "core_hours": cost.left.core_hours,
            "wall_seconds": cost.left.wall,
            "at_once": list(cost.left.at_once),
            "money": cost.money,
            "unmeasured_training_runs": cost.left.unmeasured,
            "unmeasured_chains": cost.left.unmeasured_chains,
            "unmeasured_segments": cost.left.unmeasured_segments,
            "does_not_fit": cost.left.unfitting,
        }
    return {
        "study": summary.study,
        "title": summary.title,
        "sweep": summary.sweep,
        "counts": {state.name.lower(): states.count(state) for state in TrialWork},
        "training_runs": summary.training_runs,
        "teachers": summary.teachers,
        "passes": summary.passes,
        "trials": [
            {**asdict(trial), "state": trial.state.name.lower()} for trial in summary.trials
        ],
        "folds": [
            {
                "fold": fold.number,
                "held_out": list(fold.held_out),
                "images": {role: len(places) for role, places in fold.roles.items()},
                "groups": dict(fold.groups),
                "unused": fold.unused,
                "absent": {role: list(names) for role, names in fold.absent.items() if names},
            }
            for fold in summary.folds
        ],
        "recipes": [
            {"text": recipe.text, "configurations": list(recipe.configurations)}
            for recipe in summary.recipes
        ],
        "chains": [asdict(chain) for chain in summary.chains],
        "segments": [
            {**asdict(segment), "state": segment.state.name.lower()} for segment in summary.segments
        ],
        "features": [asdict(maps) for maps in summary.features],
        "search": None if summary.search is None else asdict(summary.search),
        "cancelled": [row.record() for row in summary.cancelled],
        "decide": None if summary.decide is None else summary.decide.record(),
        "cost": estimated,
    }
