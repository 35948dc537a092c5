"""What a worker is given of its run beside its job, and what it hands back to the driver."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reports.storage import Location
from studies.planning import CamScoring, Chain, Plan, TrainingJob
from studies.store import ArtifactStore
from wsss_core.evaluate.reasons import ReasonSettings

if TYPE_CHECKING:
    from reports.results.score_rows import Rules


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
        reasons: how reasons are measured; None: they are not.
        simulated_gpus: whether Ray lends GPUs that are not there, so that jobs run on the CPU.
        objective: the measure that the study chooses thresholds by; None: figures are not derived
            where a trial ends.
        fixed_threshold: of the study's fixed rule, in [0, 1].
        own_rules: the study's own threshold rules.
        study: its name in the ledger, under which its rows may be cancelled.

    """

    run_id: str
    store: str
    results: str
    import_path: str
    cam: CamScoring
    chains: tuple[Chain, ...] = ()
    reasons: ReasonSettings | None = None
    simulated_gpus: bool = False
    objective: str | None = None
    fixed_threshold: float = 0.0
    own_rules: tuple[str, ...] = ()
    study: str = ""

    def chains_of(self, job: TrainingJob) -> tuple[Chain, ...]:
        """Return the chains that refine a job's maps; of a job without trials all."""
        if not job.trials:
            return self.chains
        names = {name for trial in job.trials for name in trial.chains}
        return tuple(chain for chain in self.chains if chain.name in names)

    @property
    def rules(self) -> "Rules | None":
        """How the study chooses thresholds; None if that is not known."""
        from reports.results.score_rows import Rules

        if self.objective is None:
            return None
        return Rules(self.objective, self.fixed_threshold, self.own_rules)

    @classmethod
    def of(cls, plan: Plan, store: ArtifactStore, results: Location) -> "RunContext":
        """Return the context of a new run of a plan."""
        thresholds = plan.study.thresholds
        return cls(
            run_id=uuid.uuid4().hex,
            store=store.where,
            results=str(results),
            # Where the driver found a plug-in that is no installed package, its workers look too.
            import_path=str(Path.cwd()),
            cam=plan.cam,
            chains=tuple(plan.runnable_chains),
            reasons=plan.study.reasons.settings() if plan.study.reasons else None,
            objective=thresholds.objective,
            fixed_threshold=thresholds.fixed,
            own_rules=tuple(thresholds.rules),
            study=plan.study.study,
        )


class JobStatus(StrEnum):
    """How a job ended; the first three are the ledger's words.

    A job of any status after `CANCELLED` has not ended: the driver gives it out again.
    """

    OK = "ok"
    COLLAPSED = "collapsed"
    FAILED = "failed"
    CANCELLED = "cancelled"  # its rows were cancelled; the ledger gets nothing
    LEASED_ELSEWHERE = "leased elsewhere"  # another driver's worker runs it
    INPUT_CORRUPT = "input corrupt"  # an artifact it builds upon has to be made again
    STORAGE_DOWN = "storage down"  # nothing can be kept
    GPU_FAILED = "GPU failed"  # this process's GPU cannot be used


@dataclass(frozen=True)
class FailedChain:
    """A chain that cannot be run over a training run's maps.

    Attributes:
        name: the chain's name.
        error: the error in a line.
        traceback: where it was raised.

    """

    name: str
    error: str
    traceback: str


class GpuMemory(NamedTuple):
    """What a job took of its GPU, and what that has; bytes."""

    peak: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: how.
        error: the error in a line, if there was one.
        seconds: what it took, if it began.
        unrecorded: whether a failure could not be written to the ledger.
        unprepared: the chains that cannot be run, of a job that ended well.
        gpu_memory: what it took of its GPU; None where it had none.

    """

    status: JobStatus
    error: str | None = None
    seconds: float | None = None
    unrecorded: bool = False
    unprepared: tuple[FailedChain, ...] = ()
    gpu_memory: GpuMemory | None = None

    @property
    def has_result(self) -> bool:
        """Whether it left scores, a collapsed network's included."""
        return self.status in (JobStatus.OK, JobStatus.COLLAPSED)
