"""The parts of a finished trial, or of a trial under a chain: kept in the store, then published.

Publishing copies them from the store to a ledger.
"""

from collections.abc import Iterable, Mapping

from reports.ledger.parts import part_name, read_table, table_folder, write_part
from reports.storage import Entry, Location
from studies.planning import TrainingJob
from studies.stages.scoring import LedgerRow, LedgerRows
from studies.store import ArtifactStore

SEALS = ("trials", "refined")
"""Tables whose row says that everything else of its key is there; they are copied last."""

TABLES = ("scores", "panels", "history", *SEALS)


def keep_scores(
    store: ArtifactStore, job: TrainingJob, key: str, rows: LedgerRows, keys: LedgerRow
) -> None:
    """Keep what was scored in the store.

    Args:
        store: where it goes.
        job: the training run whose networks were scored.
        key: names the parts.
        rows: rows of each table; an empty table has no part.
        keys: columns of every row, which say what was scored.

    """
    with store.build("scores", key, {"parent": job.key}) as folder:
        for table, content in rows.items():
            if content:
                write_part(folder, table, key, [{**keys, **row} for row in content])


def publish(
    store: ArtifactStore,
    key: str,
    results: Location,
    there: Mapping[str, Mapping[str, Entry]] | None = None,
) -> None:
    """Copy a scored trial's parts to a ledger, the row that seals it last.

    A reader that sees the row finds everything else. A part that differs from the store's, as one
    that was cut off does, is written again.

    Args:
        store: holds the stage `scores` of that key.
        key: names the parts.
        results: the ledger's folder, a path or a URI.
        there: the listings of the ledger's tables, where they are known.

    """
    ledger = store.fetch("scores", key) / "ledger"
    name = part_name(key)
    for table in TABLES:
        part = ledger / table / name
        if not part.is_file():
            continue
        folder = table_folder(results, table)
        entry = there[table].get(name) if there is not None else None
        alike = entry is not None and entry.size == part.stat().st_size
        if not alike or (table in SEALS and folder.read(name) != part.read_bytes()):
            folder.put(part, name)


def publish_all(store: ArtifactStore, keys: Iterable[str], results: Location) -> None:
    """Bring a ledger up to date with what a store holds.

    Args:
        store: where finished trials are looked up.
        keys: of the stage `scores`; those that are not finished are passed over.
        results: the ledger's folder, a path or a URI.

    """
    scored = store.finished("scores")
    finished = [key for key in keys if key in scored]
    there = {table: table_folder(results, table).listing() for table in TABLES}
    if store.remote:
        # Not to fetch every trial again: a row that is there, and not of a failure, is the store's.
        sealed = {
            row
            for table, column in (("trials", "trial_key"), ("refined", "scores_key"))
            for row, status in read_table(
                results, table, keys=finished, columns=[column, "status"]
            ).itertuples(index=False)
            if status != "failed"
        }
        finished = [key for key in finished if key not in sealed]
    for key in finished:
        publish(store, key, results, there)
