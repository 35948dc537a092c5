"""The parts of a finished trial, or of a trial under a chain: kept in the store, then published.

Publishing copies them from the store to a ledger.
A ledger is right if its parts are the store's, byte for byte. The checksums in the store's
manifests tell, so the store's own copies are read only where the ledger's differ.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from reports.ledger import (
    AT_ONCE,
    digest_in,
    ledger_table,
    part_content,
    part_name,
    quarantine_corrupt_parts,
    table_folder,
)
from reports.storage import Location, is_uri
from studies.planning import Job
from studies.store import (
    LEDGER_TABLES,
    SEALS,
    ArtifactStore,
    CorruptArtifactError,
    LedgerListing,
)

if TYPE_CHECKING:
    from reports.results.score_rows import Rules
    from studies.stages.scoring import LedgerRow, LedgerRows

logger = logging.getLogger(__name__)


def keep_scores(
    store: ArtifactStore,
    job: Job,
    key: str,
    rows: "LedgerRows",
    keys: "LedgerRow",
    rules: "Rules | None" = None,
) -> None:
    """Keep what was scored in the store, and in the sealing row what a report derives of it.

    Args:
        store: where it goes.
        job: the run whose networks were scored.
        key: names the parts.
        rows: rows of each table; an empty table has no part.
        keys: columns of every row, which say what was scored.
        rules: how the study chooses thresholds; None: nothing is derived.

    """
    with store.build("scores", key, {"parent": job.key}) as folder:
        derived: LedgerRow = {}
        for table in LEDGER_TABLES:
            if not (content := [{**keys, **row} for row in rows.get(table, ())]):
                continue
            if table in SEALS:
                content = [{**row, **derived} for row in content]
            written = ledger_table(table, key, content)
            file = part_content(table, key, written)
            table_folder(folder, table).write(part_name(key), file)
            if table == "scores" and rules is not None:
                from reports.results.stored import derived_columns

                derived = derived_columns(written, rules, digest_in(file))


def publish(
    store: ArtifactStore, key: str, results: Location, tables: Sequence[str] = LEDGER_TABLES
) -> None:
    """Copy a scored trial's parts to a ledger, the row that seals it last.

    A reader that sees the row finds everything else.

    Args:
        store: holds the stage `scores` of that key.
        key: names the parts.
        results: the ledger's folder, a path or a URI.
        tables: only the parts of these.

    Raises:
        CorruptArtifactError: the store's copy is corrupt; it was quarantined.

    """
    ledger = store.fetch("scores", key) / "ledger"
    name = part_name(key)
    for table in LEDGER_TABLES:
        part = ledger / table / name
        if table in tables and part.is_file():
            table_folder(results, table).put(part, name)


def publish_all(store: ArtifactStore, keys: Iterable[str], results: Location) -> bool:
    """Bring a ledger up to date with the store; a part that differs from the store's comes back.

    Rows that the store does not hold, such as those of failed trials, and that are corrupt are
    moved to `ledger/quarantined/`. A remote ledger costs one request for each part, and a remote
    store one for each trial.

    Args:
        store: where finished trials are looked up.
        keys: of the stage `scores`; those that are not finished are passed over.
        results: the ledger's folder, a path or a URI.

    Returns:
        Whether an artifact of the store was corrupt; it was quarantined and has to be made anew.

    """
    keys, scored = list(keys), store.finished("scores")
    finished = [key for key in keys if key in scored]
    ledger = LedgerListing.of(results, checked=finished)
    corrupt, copied_again = set(), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        each = partial(ledger.differing, store)
        # Of a local store the manifests alone are read, which threads do not speed up.
        differing = pool.map(each, finished) if store.remote else map(each, finished)
        for key, tables in zip(finished, differing, strict=True):
            try:
                if tables is None or tables:
                    publish(store, key, results, tables or LEDGER_TABLES)
                copied_again += sum(part_name(key) in ledger.there[t] for t in tables or ())
            except CorruptArtifactError as error:
                logger.warning("  %s", error)
                corrupt.add(key)
    if copied_again:
        logger.info(
            "  %d parts of the ledger differed from the store's and came back", copied_again
        )
    own = {part_name(key) for key in keys}
    copied = {part_name(key) for key in finished if key not in corrupt}
    # The table `trials` is read whole, rows of other studies included.
    rest = [
        (table, name)
        for table, listing in ledger.there.items()
        for name in listing
        if name not in copied and (table == "trials" or name in own)
    ]
    quarantine_corrupt_parts(results, rest)
    return bool(corrupt)


def note_copies(store: ArtifactStore, keys: Iterable[str], results: Location) -> None:
    """Compute the checksums of a ledger's parts that a run has written, for the next run.

    A remote ledger is left to the next run, as that costs a request for each part.

    Args:
        store: where finished trials are looked up.
        keys: of the stage `scores`.
        results: the ledger's folder, a path or a URI.

    """
    if not is_uri(results):
        scored = store.finished("scores")
        LedgerListing.of(results, checked=[key for key in keys if key in scored])
