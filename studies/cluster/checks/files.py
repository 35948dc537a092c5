"""Every node must have the driver's files, such as weights that networks start from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from studies.cluster.checks.base import Finding, NodeCheck
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError


@dataclass(frozen=True)
class ExpectedFile:
    """A file as the driver has it.

    Attributes:
        bytes: its size.
        modified: its time of change in nanoseconds.
        digest: of its content, see `wsss_core.data.file_hashes`.

    """

    bytes: int
    modified: int
    digest: str

    @classmethod
    def of(cls, file: Path, digest: str) -> Self:
        """Return a file of the driver's as nodes should have it."""
        state = file.stat()
        return cls(state.st_size, state.st_mtime_ns, digest)

    def difference(self, file: Path) -> str | None:
        """Say how a node's copy differs; None if it does not.

        A file of the same size and time of change counts as the driver's own, seen through shared
        storage or copied with its times. Any other file is hashed, however large (about a second a
        GB): a trial's key contains the hash of its weights, so results with other weights would be
        recorded under the wrong key.
        """
        try:
            state = file.stat()
            if state.st_size != self.bytes:
                return f"has {state.st_size} bytes, the driver's has {self.bytes}"
            if state.st_mtime_ns == self.modified:
                return None
            return None if file_hashes([file]) == [self.digest] else "differs from the driver's"
        except FileNotFoundError:
            return "does not exist there"
        except (OSError, InputError) as error:
            return f"cannot be read there: {error}"


@dataclass(frozen=True)
class FilesCheck(NodeCheck[list[Finding]]):
    """Compares files with the driver's (`files`, by path)."""

    files: dict[str, ExpectedFile]

    def probe(self, node: str) -> list[Finding]:
        """Return how files differ."""
        differences = {path: file.difference(Path(path)) for path, file in self.files.items()}
        return [Finding(f"file {path} {said}") for path, said in differences.items() if said]
