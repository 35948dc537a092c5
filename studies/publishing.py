"""From the store to a ledger: the parts of a finished trial, or of a trial under a chain."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from studies.artifacts import ArtifactStore

SEALS = ("trials", "refined")
"""Tables whose row says that everything else of its key is there; they are copied last."""


def publish(store: ArtifactStore, key: str, results: Path) -> None:
    """Copy a scored trial's parts to a ledger, the row that seals it last.

    A reader that sees the row finds everything else.

    Args:
        store: holds the stage `scores` of that key.
        key: names the parts.
        results: the ledger's folder.

    """
    folder = store.path("scores", key) / "ledger"
    for table in ("scores", "panels", "history", *SEALS):
        part = folder / table / f"{key}.parquet"
        target = results / "ledger" / table / part.name
        if not part.is_file() or (target.is_file() and table not in SEALS):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}-{socket.gethostname()}-{time.time_ns()}")
        shutil.copyfile(part, unfinished)
        unfinished.replace(target)
