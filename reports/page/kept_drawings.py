"""Drawn figures that are kept beside a ledger: drawn again only where their numbers changed.

Drawing the figures of a page takes as long as everything else together. A figure is known by a
digest of all that it is drawn from: its numbers, its name and title, the code of this package, the
versions of the libraries. So a figure that is kept is the one that would be drawn. They lie in
`RESULTS/derived/drawings.parquet`, which may be deleted at any time; a damaged file counts as
deleted.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import reports
import wsss_core.evaluate
from reports.ledger import DERIVED
from reports.ledger.digest import is_whole, to_parquet
from reports.storage import Folder, Location, StorageError, open_folder

_FILE = "drawings.parquet"
_LIBRARIES = ("matplotlib", "numpy", "pillow", "pandas", "scipy")


class KeptDrawings:
    """The drawn figures of a results folder.

    Args:
        folder: where they are kept; None: nowhere.

    """

    def __init__(self, folder: Folder | None = None) -> None:
        self._folder = folder
        self._known = {} if folder is None else _read(folder)
        self._used: dict[str, str] = {}

    @classmethod
    def of(cls, results: Location) -> "KeptDrawings":
        """Read those that are kept beside a ledger."""
        return cls(open_folder(results).joined(DERIVED))

    def drawn(self, drawn_from: Any, draw: Callable[[], str]) -> str:
        """Return a figure as SVG: as it is kept, or drawn now.

        Args:
            drawn_from: all that the figure follows from.
            draw: draws it.

        """
        try:
            key = hashlib.blake2b(pickle.dumps((_code(), drawn_from)), digest_size=16).hexdigest()
        except (pickle.PicklingError, AttributeError, TypeError):
            return draw()
        if key not in self._used:
            self._used[key] = self._known.get(key) or draw()
        return self._used[key]

    def keep(self) -> None:
        """Keep what was drawn, and forget what was not asked for; without rights, do nothing."""
        if self._folder is None or self._used.keys() == self._known.keys():
            return
        columns = {"key": list(self._used), "svg": list(self._used.values())}
        with contextlib.suppress(OSError, StorageError, pa.ArrowException):
            self._folder.write(_FILE, to_parquet(pa.table(columns)))


def _read(folder: Folder) -> dict[str, str]:
    try:
        content = folder.read(_FILE)
        if not is_whole(content):
            return {}
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        return dict(zip(table["key"].to_pylist(), table["svg"].to_pylist(), strict=True))
    except (OSError, StorageError, pa.ArrowException, KeyError):
        return {}


@cache
def _code() -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            digest.update(f"{name} {metadata.version(name)}\n".encode())
    for package in (reports, wsss_core.evaluate):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
