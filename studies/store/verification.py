"""What `wsss store verify` does: it compares every file of a store with its checksum."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from reports.progress import Pace
from studies.formatting import duration, in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.contents import StoreRecord, read_artifacts, walk

REPORT_EVERY_S = 10.0  # seconds between two lines of progress

logger = logging.getLogger(__name__)


@dataclass
class Verification:
    """How a store's artifacts compare with their manifests.

    Attributes:
        checked: the number of artifacts.
        bytes: in them.
        corrupt: "stage/key" -> how its files differ.
        orphans: "stage/key" -> its training run, which the store no longer holds.

    """

    checked: int = 0
    bytes: int = 0
    corrupt: dict[str, list[str]] = field(default_factory=dict)
    orphans: dict[str, str] = field(default_factory=dict)


def verify(
    store: ArtifactStore, stages: Sequence[str] = (), *, quarantine: bool = False
) -> Verification:
    """Read every file of some stages, or of all, and compare it with its checksum.

    Args:
        store: the store.
        stages: names of stages.
        quarantine: take corrupt artifacts out, so that the next run makes them anew.

    Raises:
        InputError: no such stage.

    """
    records = walk(store.folder)
    trained = {r.key for r in records if r.kind == "artifact" and r.stage == "train"}
    found = read_artifacts(store, records, stages)
    result = Verification(
        orphans={o.path: o.parent for o in found if o.parent and o.parent not in trained}
    )
    pace = Pace(sum(artifact.bytes for artifact in found), REPORT_EVERY_S)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tasks = {pool.submit(_problems, store, artifact): artifact for artifact in found}
        try:
            for task in as_completed(tasks):
                artifact = tasks[task]
                result.checked += 1
                result.bytes += artifact.bytes
                if problems := task.result():
                    result.corrupt[artifact.path] = problems
                if (left := pace.add(artifact.bytes)) is not None:
                    logger.info(
                        f"  {result.checked} of {len(found)} artifacts, {in_bytes(result.bytes)} "
                        f"of {in_bytes(pace.total)} read (about {duration(left)} left)"
                    )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    result.corrupt = dict(sorted(result.corrupt.items()))
    for name in result.corrupt if quarantine else ():
        store.quarantine(*name.split("/"))
    return result


def _problems(store: ArtifactStore, artifact: StoreRecord) -> list[str]:
    try:
        return store.problems(artifact.stage, artifact.key)
    except FileNotFoundError:
        return []  # quarantined or deleted meanwhile
