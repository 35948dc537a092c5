"""What every worker of a run needs to know beside its job."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from reports.storage import Location
from studies.planning import CamScoring, Chain, Plan
from studies.store import ArtifactStore


@dataclass(frozen=True)
class RunContext:
    """What all jobs of a run share; it travels to workers whole.

    Attributes:
        run_id: names this run in leases.
        store: the artifact store, a path or a URI.
        results: the ledger's folder, a path or a URI.
        import_path: a folder in which plug-ins are looked for too.
        cam: how plain CAMs are made and scored.
        chains: the refinement chains that can run.
        simulated_gpus: whether Ray lends GPUs that are not there, so that jobs run on the CPU.

    """

    run_id: str
    store: str
    results: str
    import_path: str
    cam: CamScoring
    chains: tuple[Chain, ...] = ()
    simulated_gpus: bool = False

    @classmethod
    def of(cls, plan: Plan, store: ArtifactStore, results: Location) -> "RunContext":
        """Return the context of a new run of a plan."""
        return cls(
            run_id=uuid.uuid4().hex,
            store=store.where,
            results=str(results),
            # Where the driver found a plug-in that is no installed package, its workers look too.
            import_path=str(Path.cwd()),
            cam=plan.cam,
            chains=tuple(plan.runnable_chains),
        )
