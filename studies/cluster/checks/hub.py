"""Every node should have timm's pretrained weights in its cache, or must be able to fetch them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from studies.cluster.checks.base import Finding, NodeCheck


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
    """Looks for pretrained weights (`weights`, by timm's tag) in a node's cache."""

    weights: dict[str, HubFile]

    def probe(self, node: str) -> list[Finding]:
        """Refuse weights that an offline node lacks; warn of a download."""
        from huggingface_hub import constants

        missing = [name for name, file in self.weights.items() if not file.is_cached()]
        ends = "; its first trial will download them"
        if constants.HF_HUB_OFFLINE:
            ends = ", and HF_HUB_OFFLINE forbids the download"
        return [
            Finding(f"weights {name!r} are not in its cache{ends}", constants.HF_HUB_OFFLINE)
            for name in missing
        ]
