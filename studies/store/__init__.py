"""The artifact store: finished stages by key, leases on artifacts in the making, and upkeep.

from studies.store import ArtifactStore, stage_key

store = ArtifactStore("results/quickstart/store")
network = store.fetch("train", key) / "student.safetensors"
"""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.store.artifacts import ArtifactStore, CorruptArtifactError, require_writable
    from studies.store.contents import (
        contents_record,
        details,
        read_artifacts,
        require_store,
        summary,
        walk,
    )
    from studies.store.garbage import Garbage, find_garbage
    from studies.store.keys import JOB_STAGES, VERSIONS, canonical, stage_key
    from studies.store.layout import SCRATCH, TRIED
    from studies.store.lease_owner import LeaseOwner
    from studies.store.leases import (
        LEASES,
        SHARD_STAGE,
        Lease,
        Leases,
        shard_of_work,
        stalled_after,
        work_of_shard,
    )
    from studies.store.ledger_copies import LEDGER_TABLES, SEALS, LedgerListing
    from studies.store.manifest import MANIFEST, Manifest
    from studies.store.processes import gone, process_of, this_process
    from studies.store.verification import verify, verify_ledger

__all__ = [
    "JOB_STAGES",
    "LEASES",
    "LEDGER_TABLES",
    "MANIFEST",
    "SCRATCH",
    "SEALS",
    "SHARD_STAGE",
    "TRIED",
    "VERSIONS",
    "ArtifactStore",
    "CorruptArtifactError",
    "Garbage",
    "Lease",
    "LeaseOwner",
    "Leases",
    "LedgerListing",
    "Manifest",
    "canonical",
    "contents_record",
    "details",
    "find_garbage",
    "gone",
    "process_of",
    "read_artifacts",
    "require_store",
    "require_writable",
    "shard_of_work",
    "stage_key",
    "stalled_after",
    "summary",
    "this_process",
    "verify",
    "verify_ledger",
    "walk",
    "work_of_shard",
]

__getattr__ = lazy_exports(__name__, __file__)
