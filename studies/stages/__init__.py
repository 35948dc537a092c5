"""The stages of a trial: train, make CAMs, refine, score, publish."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from studies.stages.cams import NetworkMaps, base_scores
    from studies.stages.chain_scores import (
        make_all_image_features,
        missing_image_features,
        refine_job,
        score_chains,
        shards_of,
        still_missing,
        try_image_features,
    )
    from studies.stages.device import (
        WorkerShare,
        keep_freed_memory,
        return_freed_memory,
        use_share,
    )
    from studies.stages.environment import device_name, package_version
    from studies.stages.failures import gpu_failed, is_gpu_failure
    from studies.stages.handover import FailedChain, GpuMemory, JobStatus, Outcome, RunContext
    from studies.stages.job import failed_outcome, finished_job, run_job, run_with_share
    from studies.stages.publishing import note_copies, publish, publish_all
    from studies.stages.refinement import ImageFeatureTask, ShardOutcome, refine_shard, run_step
    from studies.stages.training import load_network

__all__ = [
    "FailedChain",
    "GpuMemory",
    "ImageFeatureTask",
    "JobStatus",
    "NetworkMaps",
    "Outcome",
    "RunContext",
    "ShardOutcome",
    "WorkerShare",
    "base_scores",
    "device_name",
    "failed_outcome",
    "finished_job",
    "gpu_failed",
    "is_gpu_failure",
    "keep_freed_memory",
    "load_network",
    "make_all_image_features",
    "missing_image_features",
    "note_copies",
    "package_version",
    "publish",
    "publish_all",
    "refine_job",
    "refine_shard",
    "return_freed_memory",
    "run_job",
    "run_step",
    "run_with_share",
    "score_chains",
    "shards_of",
    "still_missing",
    "try_image_features",
    "use_share",
]

__getattr__ = lazy_exports(__name__, __file__)
