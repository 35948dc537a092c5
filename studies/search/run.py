"""Running a search, and the study that confirms its best configurations."""

import logging
from contextlib import closing

from reports.ledger import (
    every_part,
    part_name,
    quarantine_corrupt_parts,
    table_folder,
    write_part,
)
from reports.storage import Location, is_uri, local_path
from studies.planning import (
    Job,
    NodeAmounts,
    TrainingJob,
    make_plan,
    replaced_by,
    require_room,
    slots,
    whole_gpu,
)
from studies.preflight import preflight
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_jobs, parts_prefix, search_of, tried
from studies.search.trials import SearchTrials
from studies.spec.study import Study
from studies.stages import Outcome, RunContext
from studies.store import ArtifactStore

logger = logging.getLogger(__name__)


class _TeachersProgress(Progress):
    """Counts the teachers of a search; its trials say themselves how they ended."""

    def more(self, job: Job) -> None:
        if not job.trials:
            super().more(job)

    def ended(self, job: Job, outcome: Outcome) -> None:
        if not job.trials:
            super().ended(job, outcome)


def run_search(
    study: Study,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
    replace_plan: bool = False,
    end_stalled: float | None = None,
) -> Study:
    """Search, and return the study that confirms the best: its rows and theirs, fresh seeds.

    Args:
        study: with a `search` section.
        results: the folder of the ledger.
        store: where trained networks are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.
        replace_plan: let this study replace another one that has its name in the ledger.
        end_stalled: see `studies.runner.run_plan`.

    Raises:
        InputError: another study has its name in the ledger, what `studies.preflight`
            finds, a trial that no node has room for, a teacher that was not trained, or no trial
            of the search that ended well.

    """
    from studies.ray_tune.runner import run_with_tune

    search = search_of(study)
    results = results if is_uri(results) else local_path(results)
    planner, plan = first_jobs(study)
    prefix = parts_prefix(planner)
    quarantine_corrupt_parts(results, every_part(results, ("plan", "search")))
    done = tried(results, prefix)
    left = search.trials - done["number"].nunique()
    if left > 0:
        known = list(plan.jobs.values())
        whole = make_plan(study, planner.images)
        replaced_by(whole, results, asked=replace_plan)  # said once, after the search
        preflight(plan, known, store, results)
        if part_name(study.file_name) not in table_folder(results, "plan").listing():
            # For `wsss status`; the study that confirms the best writes it anew.
            write_part(results, "plan", study.file_name, whole.ledger_rows())
        context = RunContext.of(plan, store, results)
        stop = Stop()
        trials = SearchTrials(planner, results, done, prefix, left, stop)

        def begin(nodes: list[NodeAmounts]) -> list[TrainingJob]:
            # All trials of a search are of one paradigm, so they ask for one and the same.
            request = study.resources.demand(search.paradigm).asks(whole_gpu(nodes))
            require_room([(f"the search ({search.paradigm})", request)], nodes)
            logger.info(
                "%s: search, %d of %d configurations to try", study.study, left, search.trials
            )
            return trials.start(slots(request, nodes))

        awaited = {job.parent for job in known}
        teachers = [j for j in known if j.key in awaited and not store.has("train", j.key)]
        progress = _TeachersProgress(teachers)
        with closing(progress):
            run_with_tune(
                plan,
                teachers,
                context,
                address,
                progress,
                stop,
                begin=begin,
                on_end=trials.ended,
                end_stalled=end_stalled,
            )
        stop.raise_reason()
    return confirmation(study, tried(results, prefix))
