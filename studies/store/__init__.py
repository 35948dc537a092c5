"""The artifact store: finished stages by key, leases on artifacts in the making, and upkeep.

from studies.store import ArtifactStore, stage_key

store = ArtifactStore("results/quickstart/store")
network = store.fetch("train", key) / "student.safetensors"
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.store.artifacts import ArtifactStore, CorruptArtifactError
    from studies.store.garbage import Garbage, find_garbage
    from studies.store.keys import VERSIONS, canonical, stage_key
    from studies.store.leases import LeaseOwner, Leases
    from studies.store.manifest import Manifest
    from studies.store.verification import verify

__all__ = [
    "VERSIONS",
    "ArtifactStore",
    "CorruptArtifactError",
    "Garbage",
    "LeaseOwner",
    "Leases",
    "Manifest",
    "canonical",
    "find_garbage",
    "stage_key",
    "verify",
]

__getattr__ = lazy_exports(__name__, __file__)
