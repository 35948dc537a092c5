"""A ledger compared with the store that it was copied from.

An artifact of the stage `scores` holds a trial's parts of the ledger, and its manifest their sizes
and checksums.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from reports.ledger.parts import part_name, table_folder
from reports.storage import Entry, Folder, Location, StorageError
from studies.store.artifacts import ArtifactStore
from studies.store.manifest import Manifest

SEALS = ("trials", "refined")
"""Tables whose row says that everything else of its key is there; they are copied last."""

LEDGER_TABLES = ("scores", "panels", "history", *SEALS)
"""The tables whose parts the store holds, in the order of copying."""


@dataclass(frozen=True)
class LedgerListing:
    """What lies in the tables of a ledger that are copied from a store.

    Attributes:
        folders: the folder of each table.
        there: the files of each table.

    """

    folders: Mapping[str, Folder]
    there: Mapping[str, Mapping[str, Entry]]

    @classmethod
    def of(cls, results: Location) -> "LedgerListing":
        """List the tables of a ledger."""
        folders = {table: table_folder(results, table) for table in LEDGER_TABLES}
        return cls(folders, {table: folder.listing() for table, folder in folders.items()})

    def missing(self, key: str, manifest: Manifest) -> list[str]:
        """Return the tables that lack a part of a trial that the manifest names."""
        return [table for table in _tables(key, manifest) if part_name(key) not in self.there[table]]

    def differing(self, store: ArtifactStore, key: str) -> list[str]:
        """Return the tables whose part of a finished trial is missing or is not the store's.

        All of them if the store's copy, as far as sizes tell, is corrupt. One that nobody needs is
        not read.
        """
        try:
            manifest = store.manifest("scores", key)
            if not store.remote and not _has_sizes(store, key, manifest):
                return list(LEDGER_TABLES)
        except FileNotFoundError:
            return []  # deleted meanwhile
        except StorageError:
            raise
        except ValueError:
            return list(LEDGER_TABLES)  # it cannot be read
        return [
            table
            for table, path in _tables(key, manifest).items()
            if not self._is_copy(table, part_name(key), manifest.sizes[path], manifest.checksums[path])
        ]

    def _is_copy(self, table: str, name: str, size: int, checksum: str) -> bool:
        entry = self.there[table].get(name)
        if entry is None or entry.size != size:
            return False
        try:
            content = self.folders[table].read(name)
        except OSError:
            return False  # gone meanwhile, or unreadable: it is written again
        return hashlib.blake2b(content, digest_size=16).hexdigest() == checksum


def _tables(key: str, manifest: Manifest) -> dict[str, str]:
    """Return the tables that a trial has a part of -> the part's name in the artifact."""
    paths = {table: f"ledger/{table}/{part_name(key)}" for table in LEDGER_TABLES}
    return {table: path for table, path in paths.items() if path in manifest.sizes}


def _has_sizes(store: ArtifactStore, key: str, manifest: Manifest) -> bool:
    path = store.path("scores", key)
    return all((path / name).stat().st_size == size for name, size in manifest.sizes.items())
