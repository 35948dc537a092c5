"""Every node must share the folders of a run with the driver, and may write to them."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product

from reports.storage import is_uri, local_path, open_folder
from studies.cluster.checks.base import Finding, NodeCheck, NodeReport
from studies.formatting import error_line, in_bytes
from wsss_core.errors import InputError

SECONDS_TO_SEE = 5.0
"""For how long a file of another machine is looked for: some network file systems remember for
seconds what a folder held before."""

LOW_DISK = 2 * 2**30  # bytes that a folder's file system should have free

_DELETE_AT_ONCE = 16


@dataclass(frozen=True)
class FolderFacts:
    """How a node finds a folder.

    Attributes:
        error: None if the node read the driver's file and wrote its own.
        free: free bytes of the file system; None if the folder is a URI or is missing.

    """

    error: str | None
    free: int | None = None


@dataclass(frozen=True)
class FoldersCheck(NodeCheck[dict[str, FolderFacts]]):
    """Finds out whether driver and node see each other's files in the same folders.

    Attributes:
        folders: what the folder holds, as in "store" -> path or URI.
        token: the driver's file in each folder, whose content is its own name.

    """

    folders: dict[str, str]
    token: str = field(default_factory=lambda: f".node-check-{uuid.uuid4().hex[:12]}")

    @contextlib.contextmanager
    def prepared(self, nodes: Sequence[str]) -> Iterator[None]:
        """Write the driver's file to each folder; at the end delete it and the nodes' files."""
        folders = [open_folder(where, make=True) for where in self.folders.values()]
        names = [self.token, *map(self._file_of, nodes)]
        try:
            for folder in folders:
                folder.write(self.token, self.token.encode())
            yield
        finally:
            with (
                contextlib.suppress(OSError, InputError),
                ThreadPoolExecutor(_DELETE_AT_ONCE) as pool,
            ):
                list(pool.map(lambda both: both[0].delete(both[1]), product(folders, names)))

    def probe(self, node: str) -> dict[str, FolderFacts]:
        """Read the driver's file in each folder and write the node's own."""
        return {name: self._look(where, node) for name, where in self.folders.items()}

    def judge(self, facts: dict[str, FolderFacts], node: NodeReport) -> Iterator[Finding]:
        """Refuse folders that are not shared, both ways; warn where the disk is nearly full."""
        for name, fact in facts.items():
            where, error = self.folders[name], fact.error
            if error is None and not sees(where, self._file_of(node.node)):
                error = "does not show the driver what the node writes there"
            if error is not None:
                yield Finding(f"{name} {where} {error}; expected one folder that all nodes share")
            if fact.free is not None and fact.free < LOW_DISK:
                yield Finding(f"{name} {where} has {in_bytes(fact.free)} free", problem=False)

    def _look(self, where: str, node: str) -> FolderFacts:
        free = None
        try:
            if not is_uri(where):
                path = local_path(where)
                # This comes first: a folder that is away is waited for, and one that a node lacks
                # must not be made there.
                if not path.is_dir():
                    return FolderFacts("does not exist there")
                free = shutil.disk_usage(path).free
            if not sees(where, self.token):
                return FolderFacts("is another folder there: it lacks the driver's file", free)
            mine = self._file_of(node)
            open_folder(where).write(mine, mine.encode())
        except (OSError, InputError) as error:
            return FolderFacts(f"cannot be used there: {error_line(error)[:320]}", free)
        return FolderFacts(None, free)

    def _file_of(self, node: str) -> str:
        return f"{self.token}-{node[:16]}"


def sees(where: str, name: str) -> bool:
    """Return whether a folder holds a file whose content is its name; look `SECONDS_TO_SEE`."""
    folder = open_folder(where)
    deadline = time.monotonic() + SECONDS_TO_SEE
    while True:
        with contextlib.suppress(FileNotFoundError):
            return folder.read(name) == name.encode()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
