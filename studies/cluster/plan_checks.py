"""What a plan's training runs need of every node of a cluster."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reports.ledger.parts import read_arrow
from reports.storage import Location
from studies.cluster.checks import (
    ClockCheck,
    CodeCheck,
    CompilerCheck,
    ExpectedFile,
    FilesCheck,
    FoldersCheck,
    GpuCheck,
    HubCheck,
    HubFile,
    NodeCheck,
    PluginsCheck,
    code_facts,
)
from studies.planning import Chain, Job, Plan, SegmentJob, TrainingJob, kind
from studies.stages import RunContext
from wsss_core.refine.foundation.models import files_of_weights


def checks_for_plan(
    plan: Plan, pending: Sequence[Job], context: RunContext, whole: float
) -> list[NodeCheck[Any]]:
    """Return the checks of every node, in the order in which their findings are listed.

    Args:
        plan: names the plug-ins and the refinement chains.
        pending: the runs that are left.
        context: what their workers are given, see `studies.stages.handover.RunContext`.
        whole: what `gpus: auto` stands for, see `studies.planning.capacity.whole_gpu`.

    """
    weights = list(_initial_weights(pending))
    files = {path: ExpectedFile.of(Path(path), tag) for path, tag, _ in weights if path}
    for chain in plan.runnable_chains:
        files |= files_of_chain(chain)
    pretrained = {tag: HubFile.of(model) for path, tag, model in weights if not path}
    shares = {job.key: job.resources.asks(whole).get("GPU", 0.0) for job in pending}
    gpus = any(shares.values())
    trained = [job for job in pending if isinstance(job, TrainingJob) and not job.members]
    compiled = any(job.settings["training"]["compile"] for job in trained)
    checks: list[NodeCheck[Any] | None] = [
        CodeCheck(code_facts()),
        FoldersCheck({"results": context.results, "store": context.store}),
        PluginsCheck(plan.plugins, context.import_path),
        FilesCheck(files),
        HubCheck(pretrained) if pretrained else None,
        CompilerCheck(gpus) if compiled else None,
        ClockCheck(),
        GpuCheck(_gpu_needs(pending, shares, context.results)) if gpus else None,
    ]
    return [check for check in checks if check is not None]


def _initial_weights(pending: Iterable[Job]) -> Iterator[tuple[str | None, str, str]]:
    """Yield what networks start from: path (None: pretrained), hash or tag, timm's model."""
    for job in pending:
        if isinstance(job, SegmentJob):
            if Path(job.weights).is_file():
                yield job.weights, job.settings["model"]["weights"], ""
            continue
        # A teacher that is trained alone first has its own training run, which reads the weights.
        for role in job.trained_roles:
            settings, source = job.settings[role], job.weights[role]
            if source != "none":
                path = None if source == "pretrained" else source
                yield path, settings["weights"], settings["model"]


def files_of_chain(chain: Chain) -> dict[str, ExpectedFile]:
    """Return the files of a chain's large models, where they lie in folders, by path."""
    files = {}
    for step in chain.steps:
        weights = step.applied.arguments.get("weights")
        if weights and (digests := step.weights_digests):
            found = files_of_weights(Path(weights))
            for file, digest in zip(found, digests, strict=True):
                files[str(file)] = ExpectedFile.of(file, digest)
    return files


def _gpu_needs(
    pending: Iterable[Job], shares: dict[str, float], results: Location
) -> dict[float, int]:
    """Return each share of a GPU -> the most bytes that trials like those took on a GPU before.

    Alike are trials with the same networks, paradigm, batch, precision and image size in the
    ledger. A share whose trials were never measured gets 0.
    """
    columns = ["settings", "device", "peak_memory_bytes"]
    read = read_arrow(results, "trials", columns=columns, skip_corrupt=True)
    measured = read.to_pandas().dropna()
    on_gpu = measured[~measured["device"].str.contains(" CPU, ", regex=False)]
    kinds = on_gpu["settings"].map(lambda text: kind(json.loads(text)))
    peaks = on_gpu["peak_memory_bytes"].groupby(kinds).max()
    needs: dict[float, int] = {}
    for job in pending:
        if share := min(shares[job.key], 1.0):
            known = peaks.get(kind(job.settings), 0) if isinstance(job, TrainingJob) else 0
            needs[share] = max(needs.get(share, 0), int(known))
    return needs
