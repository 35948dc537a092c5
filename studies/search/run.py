"""Running a search, and the study that confirms its best configurations."""

import contextlib
import logging

from studies.cluster.ray_start import node_amounts, start_ray
from studies.ray_tune.runner import run_with_tune

# ruff: isort: split
import ray

from reports.ledger.parts import part_name, table_folder, write_part
from reports.storage import Location, StorageError, is_uri, local_path
from studies.cluster.check import check_nodes
from studies.planning import TrainingJob, make_plan, require_room, slots, whole_gpu
from studies.scheduling.progress import Progress
from studies.scheduling.stopping import Stop
from studies.search.candidates import confirmation, first_jobs, parts_prefix, tried
from studies.search.trials import SearchTrials
from studies.spec.study import Study
from studies.stages import Outcome, RunContext
from studies.stages.preflight import preflight
from studies.store import ArtifactStore

logger = logging.getLogger(__name__)


class _TeachersProgress(Progress):
    """Counts the teachers of a search; its trials say themselves how they ended."""

    def more(self, job: TrainingJob) -> None:
        if not job.trials:
            super().more(job)

    def ended(self, job: TrainingJob, outcome: Outcome) -> None:
        if not job.trials:
            super().ended(job, outcome)


def run_search(
    study: Study,
    results: Location,
    store: ArtifactStore,
    *,
    address: str | None = None,
) -> Study:
    """Search, and return the study that confirms the best: its rows and theirs, fresh seeds.

    Args:
        study: with a `search` section.
        results: the folder of the ledger.
        store: where trained networks are looked up and kept.
        address: of a running Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: what `studies.stages.preflight` finds, a trial that no node has room for, a
            teacher that was not trained, or no trial of the search that ended well.

    """
    search = study.search
    assert search is not None
    results = results if is_uri(results) else local_path(results)
    planner, plan = first_jobs(study)
    prefix = parts_prefix(planner)
    done = tried(results, prefix)
    left = search.trials - done["number"].nunique()
    if left > 0:
        known = list(plan.jobs.values())
        preflight(plan, known, store, results)
        if part_name(study.file_name) not in table_folder(results, "plan").listing():
            # For `wsss status`; the study that confirms the best writes it anew.
            write_part(
                results, "plan", study.file_name, make_plan(study, planner.images).ledger_rows()
            )
        context = RunContext.of(plan, store, results)
        stop = Stop()
        started_here = start_ray(address)
        try:
            check_nodes(plan, known, context)
            nodes = node_amounts()
            # All trials of a search are of one paradigm, so they ask for one and the same.
            request = study.resources.demand(search.paradigm).asks(whole_gpu(nodes))
            require_room([(f"the search ({search.paradigm})", request)], nodes)
            awaited = {job.parent for job in known}
            teachers = [j for j in known if j.key in awaited and not store.has("train", j.key)]
            logger.info(
                "%s: search, %d of %d configurations to try", study.study, left, search.trials
            )
            trials = SearchTrials(planner, results, done, prefix, left, stop)
            first = trials.start(slots(request, nodes))
            run_with_tune(
                plan,
                [*teachers, *first],
                context,
                address,
                _TeachersProgress(teachers),
                stop,
                checked=True,
                on_end=trials.ended,
            )
        finally:
            if started_here:
                ray.shutdown()
            with contextlib.suppress(OSError, StorageError):
                store.leases.drop_run(context.run_id)
        stop.raise_reason()
    return confirmation(study, tried(results, prefix))
