"""Writes what `wsss plan` prints: the trials, which are finished, and the cost of the others."""

from collections.abc import Callable

from reports.storage import Location
from studies.cluster.machine import this_machine
from studies.formatting import duration, over_trials
from studies.planning import Estimate, Plan, TrainingJob, estimate, passes, read_timings
from studies.spec.search import Search
from studies.store import ArtifactStore


def describe_plan(
    plan: Plan, store: ArtifactStore, results: Location, *, at_once: int | None = None
) -> str:
    """Return a study's trials with their keys and states, and the cost of the work that is left.

    The cost is estimated from the trials of this results folder, see `studies.planning.cost`.

    Args:
        plan: see `studies.planning.planner.make_plan`.
        store: holds the finished stages.
        results: the folder of the ledger.
        at_once: how many trials run at a time; None: as many as fit on this machine.

    """
    has = store.seen()
    study = plan.study
    pending = plan.pending(store)
    untrained = {job.key: job for job in pending if not has("train", job.key)}
    lines = [f"{study.study}: {study.title}", ""]
    width = max(len(name) for name, _ in study.named_configurations())
    lines.append(f"{'configuration':{width}}  seed  trial                 state")
    owner = {trial.key: job for job in plan.jobs.values() for trial in job.trials}
    for trial in plan.trials:
        job = owner[trial.key]
        if has("scores", trial.key):
            state = "done"
        elif job.key not in untrained:
            state = "trained, to be scored"
        elif job.parent in untrained:
            state = "to be trained after its teacher"
        else:
            state = "to be trained"
        at = f"  {study.sweep.name} = {trial.sweep_value:g}" if study.sweep else ""
        lines.append(f"{trial.configuration:{width}}  {trial.seed:4}  {trial.key}  {state}{at}")
    teachers = [job for job in untrained.values() if not job.trials]
    learning = sum(passes(job.settings) for job in untrained.values())
    lines += [
        "",
        f"{len(plan.trials)} trials, {len(untrained)} training runs to do"
        + (f" ({len(teachers)} of them teachers that no row reports)" if teachers else "")
        + f": {learning} passes over the training images",
    ]
    lines += _chains(plan, has)
    if study.search is not None:
        left, line = _search(plan, study.search, results)
        known = {job.key for job in pending}
        pending += [job for job in left if job.key not in known]
        lines.append(line)
    if pending:
        lines += ["", *_cost(plan, pending, has, results, at_once)]
    return "\n".join(lines)


def _search(plan: Plan, search: Search, results: Location) -> tuple[list[TrainingJob], str]:
    """Return the most that is left of a search and of the confirmation of its best; and a line."""
    # Loads pandas, which a study without a search does not need.
    from studies.search.candidates import first_jobs, jobs_left, parts_prefix, tried

    planner, _ = first_jobs(plan.study, plan.image_sets[0])
    done = tried(results, parts_prefix(planner))["number"].nunique()
    left = jobs_left(planner, max(0, search.trials - done))
    return left, (
        f"before them a search: {search.trials} configurations, {done} of them tried; seeds each: "
        f"up to {len(search.seeds)}; of them join the rows above: the best {search.confirm}; "
        "the cost is that of all; ASHA saves some of it by stopping poor ones early"
    )


def _chains(plan: Plan, has: Callable[[str, str], bool]) -> list[str]:
    """Return a line for each chain: over how many trials it is done, or why it is not run."""
    lines = ["", "refinement, beside the plain CAM:"] if plan.chains else []
    trials = plan.trials
    for chain in plan.chains:
        if chain.lacks is not None:
            lines.append(f"  {chain.name}: not run, {chain.lacks}")
            continue
        done = sum(has("scores", trial.chains[chain.name]) for trial in trials)
        lines.append(f"  {chain.name}: done over {done} of {len(trials)} trials")
    return lines


def _cost(
    plan: Plan,
    pending: list[TrainingJob],
    has: Callable[[str, str], bool],
    results: Location,
    at_once: int | None,
) -> list[str]:
    """Return the cost of the work that is left, as lines."""
    timings = read_timings(plan, results)
    if not timings.trials:
        return ["no trial of this results folder is measured yet: the first ones give the estimate"]
    resources = plan.study.resources
    left = estimate(pending, has, timings, this_machine(), at_once)
    stages = {"training": left.training, "scoring": left.scoring, "refinement": left.refinement}
    measured = f"{timings.trials}, {timings.device}"
    trials = ", ".join(f"{name} {duration(s)}" for name, s in stages.items() if s)
    lines = [
        f"cost of what is left, from the trials measured here ({measured}):",
        f"  trials     {trials or 'none'}",
        f"  resources  {_hours(left)}",
        f"  wall time  {_wall(left, at_once)}",
    ]
    # The price of a GPU's hour covers the machine around it.
    name, used, price = (
        ("GPU", left.gpu_hours, resources.price_per_gpu_hour)
        if timings.with_gpu
        else ("CPU-core", left.core_hours, resources.price_per_cpu_hour)
    )
    if price is not None:
        lines.append(f"  money      about {price * used:.2f}, at {price:g} a {name}-hour")
    if left.unmeasured:
        lines.append(
            f"  {left.unmeasured} training runs are of kinds that no trial has measured: predicted "
            "by their passes over the images, from the time that all others need for one"
        )
    if left.unmeasured_chains:
        lines.append(
            f"  beside it {over_trials(left.unmeasured_chains)}, which no trial has measured yet"
        )
    asks_gpu = any(job.resources.gpus not in ("auto", 0) for job in pending)
    if asks_gpu and not timings.with_gpu:
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
