"""A ledger compared with the store that it was copied from.

An artifact of the stage `scores` holds a trial's parts of the ledger, and its manifest their sizes
and checksums. The checksum of a part of the ledger is computed once for each version of its file
(`reports.ledger.snapshot`) and kept for a week at most. A reader that finds a part corrupt makes
the next run forget what was kept, so a part that rots without a new time of change comes back too.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reports.ledger import part_checksums
from reports.ledger.parts import part_name, table_folder
from reports.storage import Entry, Folder, Location, StorageError
from studies.store.artifacts import ArtifactStore
from studies.store.manifest import Manifest

SEALS = ("trials", "refined", "segmented")
"""Tables whose row says that everything else of its key is there; they are copied last."""

LEDGER_TABLES = ("scores", "panels", "history", "reasons", "segment_scores", *SEALS)
"""The tables whose parts the store holds, in the order of copying."""


@dataclass(frozen=True)
class LedgerListing:
    """What lies in the tables of a ledger that are copied from a store.

    Attributes:
        folders: the folder of each table.
        there: the files of each table.
        known: checksums of files of each table.

    """

    folders: Mapping[str, Folder]
    there: Mapping[str, Mapping[str, Entry]]
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Location, *, checked: Iterable[str] | None = None) -> "LedgerListing":
        """List the tables of a ledger.

        Args:
            results: the ledger's folder, a path or a URI.
            checked: the keys whose parts are compared by the checksums that are kept of this
                version of their files, and computed where none is. None: `differing` reads parts.

        """
        folders = {table: table_folder(results, table) for table in LEDGER_TABLES}
        there = {table: folder.listing() for table, folder in folders.items()}
        known = {}
        if checked is not None:
            names = sorted(map(part_name, checked))
            known = {
                table: part_checksums(results, table, [n for n in names if n in listed], listed)
                for table, listed in there.items()
            }
        return cls(folders, there, known)

    def differing(self, store: ArtifactStore, key: str) -> list[str] | None:
        """Return the tables whose part of a finished trial is missing or is not the store's.

        The store's copy is read by its manifest and sizes alone; None if these say that it is
        corrupt.
        """
        try:
            manifest = store.manifest("scores", key)
            if not store.remote and not _has_sizes(store, key, manifest):
                return None
        except FileNotFoundError:
            return []  # deleted meanwhile
        except StorageError:
            raise
        except ValueError:
            return None  # the manifest cannot be read
        paths = {table: f"ledger/{table}/{part_name(key)}" for table in LEDGER_TABLES}
        return [
            table
            for table, path in paths.items()
            if path in manifest.sizes
            and not self._is_copy(table, key, manifest.sizes[path], manifest.checksums[path])
        ]

    def _is_copy(self, table: str, key: str, size: int, checksum: str) -> bool:
        entry = self.there[table].get(part_name(key))
        if entry is None or entry.size != size:
            return False
        if self.known:
            return self.known[table].get(part_name(key)) == checksum
        try:
            content = self.folders[table].read(part_name(key))
        except OSError:
            return False  # gone meanwhile, or unreadable: it is written again
        return hashlib.blake2b(content, digest_size=16).hexdigest() == checksum


def _has_sizes(store: ArtifactStore, key: str, manifest: Manifest) -> bool:
    path = str(store.path("scores", key))
    try:
        found = [(os.stat(f"{path}/{name}"), size) for name, size in manifest.sizes.items()]
    except OSError:
        return False
    return all(stat.S_ISREG(state.st_mode) and state.st_size == size for state, size in found)
