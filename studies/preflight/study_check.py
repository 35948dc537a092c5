"""Checks before anything is trained: folders, images, networks.

A store remembers which pairs of networks passed, so that running again tries nothing.
"""

import logging
import time
from collections.abc import Sequence

from reports.storage import Location, open_folder
from studies.planning import Job, Plan, SegmentJob, TrainingJob
from studies.preflight.crash_guard import run_checks
from studies.preflight.images_check import check_study_images
from studies.preflight.initial_weights import log_initial_weights
from studies.preflight.network_check import distinct_checks
from studies.store import SCRATCH, TRIED, ArtifactStore

logger = logging.getLogger(__name__)


def preflight(
    plan: Plan,
    pending: Sequence[Job],
    store: ArtifactStore,
    results: Location,
) -> None:
    """Check all that is to run: folders, every image, networks with their weights, segmenters.

    Corrupt artifacts that pending jobs build upon are taken out of the store, so that they are made
    again. The images are decoded into the store on the way. Each distinct pair of networks trains
    one step, see `studies.preflight.network_check`.

    Raises:
        InputError: the first thing that cannot work.

    """
    open_folder(results, make=True)
    store.make()
    quarantine_corrupt(plan, pending, store)
    check_study_images(plan, store, results)
    trained = [job for job in pending if isinstance(job, TrainingJob)]
    _try_networks(plan, trained, store)
    log_initial_weights(trained)
    if segments := [job for job in pending if isinstance(job, SegmentJob)]:
        from studies.preflight.segments_check import check_segments

        check_segments(plan, segments, store)


def quarantine_corrupt(plan: Plan, pending: Sequence[Job], store: ArtifactStore) -> None:
    """Take networks and images out of the store whose checksums differ from their manifests.

    Each node checks an artifact of a remote store itself when it first reads it.
    """
    if store.remote:
        return
    inputs = [("train", key) for job in pending for key in job.needs]
    inputs = list(dict.fromkeys([*inputs, *((job.stage, job.key) for job in pending)]))
    inputs += [("images", key) for images in plan.image_sets for key in images.splits.keys.values()]
    for stage, key in inputs:
        if store.has(stage, key) and (problems := store.problems(stage, key)):
            store.quarantine(stage, key)
            logger.warning(
                "%s/%s is corrupt (%s); it was quarantined and is made again",
                stage,
                key,
                problems[0],
            )


def _try_networks(plan: Plan, pending: list[TrainingJob], store: ArtifactStore) -> None:
    """Try every pair of networks that the store does not know to work."""
    began = time.perf_counter()
    tried = store.folder.joined(TRIED)
    passed = tried.listing()
    left = [check for check in distinct_checks(plan, pending, store) if check.key() not in passed]
    if left:
        scratch = store.root / SCRATCH  # what a killed process leaves there is collected
        run_checks(left, scratch, lambda check: tried.write(check.key(), check.name.encode()))
        took = time.perf_counter() - began
        logger.info("networks: %d pairs tried, each trained for a step, in %.1f s", len(left), took)
