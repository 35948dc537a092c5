"""What `wsss store verify` does: it compares every file of a store with its checksum.

Of a results folder it compares the parts of the ledger too, each with the digest that it holds.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial

from reports.ledger import (
    AT_ONCE,
    DERIVED,
    corrupt_parts,
    every_part,
    forget_checksums,
    part_name,
    quarantine_part,
    read_arrow,
)
from reports.progress import Pace
from reports.storage import Location, open_folder
from studies.formatting import duration, in_bytes
from studies.store.artifacts import ArtifactStore
from studies.store.contents import StoreRecord, read_artifacts, walk
from studies.store.keys import JOB_STAGES
from studies.store.ledger_copies import LEDGER_TABLES, LedgerListing

REPORT_EVERY_S = 10.0  # seconds between two lines of progress

logger = logging.getLogger(__name__)


@dataclass
class Verification:
    """How a store's artifacts compare with their manifests.

    Attributes:
        checked: the number of artifacts.
        bytes: in them.
        corrupt: "stage/key" -> how its files differ.
        orphans: "stage/key" -> its training or segmentation run, which the store no longer holds.

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
    trained = {r.key for r in records if r.kind == "artifact" and r.stage in JOB_STAGES}
    found = read_artifacts(store, records, stages)
    result = Verification(
        orphans={o.path: o.parent for o in found if o.parent and o.parent not in trained}
    )
    pace = Pace(sum(artifact.bytes for artifact in found), REPORT_EVERY_S, "B", bytes_=True)
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


@dataclass(frozen=True)
class LedgerVerification:
    """How a ledger's parts compare with their digests, and with what the store holds.

    Attributes:
        checked: the number of parts.
        corrupt: "table/key.parquet" -> why it cannot be read.
        missing: "table/key.parquet" -> why it is not the store's; `wsss run` copies it again.

    """

    checked: int
    corrupt: dict[str, str]
    missing: dict[str, str]


def verify_ledger(
    results: Location, store: ArtifactStore | None, *, quarantine: bool = False
) -> LedgerVerification:
    """Read every part of a ledger; compare it with the store's checksum, or its own digest.

    Args:
        results: the results folder, a path or a URI.
        store: the store of its trials, if it is known.
        quarantine: move corrupt parts to `ledger/quarantined/`.

    Raises:
        LedgerError: a part has another schema version, or may not be read.

    """
    parts = every_part(results)
    differing = {} if store is None else _differing(results, store, parts)
    rest = [part for part in parts if differing.get(part, True)]
    corrupt = corrupt_parts(results, rest)
    if quarantine:
        for part in corrupt:
            quarantine_part(results, *part)
    # `wsss run` has to look at these again, also where a file rotted without a new time of change.
    for table in {table for (table, _), differs in differing.items() if differs}:
        forget_checksums(open_folder(results).joined(DERIVED), table)
    missing = {
        "/".join(part): "differs from the store's copy" if part in parts else "is missing"
        for part, differs in differing.items()
        if differs and part not in corrupt
    }
    found = {"/".join(part): str(error) for part, error in corrupt.items()}
    return LedgerVerification(len(parts), found, missing)


def _differing(
    results: Location, store: ArtifactStore, parts: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], bool]:
    """Return whether each part that the store has a copy of is missing or differs from it.

    Parts of trials of which the store's copy is corrupt are left out.
    """
    ledger = LedgerListing.of(results)
    read = partial(read_arrow, results, skip_corrupt=True)
    keys = {name.removesuffix(part_name("")) for _, name in parts}
    keys |= set(read("plan", columns=["trial_key"])["trial_key"].to_pylist())
    for table in ("refinements", "segments"):
        keys |= set(read(table, columns=["scores_key"])["scores_key"].to_pylist())
    finished = sorted(keys & store.finished("scores"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = zip(finished, pool.map(partial(ledger.differing, store), finished), strict=True)
        return {
            (table, part_name(key)): table in differing
            for key, differing in found
            if differing is not None
            for table in LEDGER_TABLES
            if table in differing or part_name(key) in ledger.there[table]
        }
