"""Every node must have the files that trials read: the driver's own, and timm's pretrained weights.

Pretrained weights may lie in the node's folder of fetched weights, or be downloaded by the node.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from studies.cluster.checks.base import Finding, NodeCheck
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError
from wsss_core.fetched_weights import checked, fetched

PRETRAINED = "pretrained "
"""How a plan's name of timm's weights begins; what follows is their name."""


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


class HubFile(NamedTuple):
    """Where timm looks for pretrained weights.

    Attributes:
        repository: on the Hugging Face hub; None if the weights have a URL of their own.
        revision: of the repository; None for its latest.
        file: in the repository (None for the usual names), or the last part of the URL.

    """

    repository: str | None
    revision: str | None
    file: str | None

    @classmethod
    def of(cls, model: str) -> Self:
        """Return where timm looks for the pretrained weights of a model."""
        import timm

        config: Any = timm.get_pretrained_cfg(model)
        if config.hf_hub_id:
            repository, _, revision = str(config.hf_hub_id).partition("@")
            return cls(repository, revision or None, config.hf_hub_filename)
        return cls(None, None, config.url.rpartition("/")[2] if config.url else None)

    def is_cached(self) -> bool:
        """Return whether the weights lie in this machine's cache."""
        if self.repository is None:
            import torch

            cache = Path(torch.hub.get_dir(), "checkpoints")
            return self.file is None or (cache / self.file).is_file()
        from huggingface_hub import try_to_load_from_cache

        names = [self.file] if self.file else ["model.safetensors", "pytorch_model.bin"]
        found = [
            try_to_load_from_cache(self.repository, name, revision=self.revision) for name in names
        ]
        return any(isinstance(file, str) for file in found)


@dataclass(frozen=True)
class HubCheck(NodeCheck[list[Finding]]):
    """Looks for pretrained weights (`weights`, by the plan's name) where a node would find them."""

    weights: dict[str, HubFile]

    def probe(self, node: str) -> list[Finding]:
        """Refuse weights that an offline node lacks, and fetched ones that are corrupt.

        It warns of a download.
        """
        from huggingface_hub import constants

        found = []
        for name, file in self.weights.items():
            try:
                entry = fetched(name.removeprefix(PRETRAINED).rstrip("."))
                if entry is not None:
                    checked(entry)
                    continue
            except (OSError, InputError) as error:
                found.append(Finding(f"weights {name!r}: {error}"))
                continue
            if not file.is_cached():
                ends = "; its first trial will download them"
                if constants.HF_HUB_OFFLINE:
                    ends = ", and HF_HUB_OFFLINE forbids the download"
                said = f"weights {name!r} are not in its cache{ends}"
                found.append(Finding(said, constants.HF_HUB_OFFLINE))
        return found
