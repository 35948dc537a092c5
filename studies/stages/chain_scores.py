"""A trial's scores under its refinement chains: from refined maps to ledger rows."""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime

from reports.ledger.parts import write_part
from studies.planning import SCORED_SPLITS, Chain, TrainingJob, Trial
from studies.stages import environment
from studies.stages.cams import network_maps
from studies.stages.context import RunContext
from studies.stages.panels import panel_rows
from studies.stages.publishing import publish
from studies.stages.refinement import ShardOutcome, chain_maps
from studies.stages.scoring import LedgerRow, LedgerRows, NetworkScores, score_rows
from studies.store import ArtifactStore


def score_chains(
    job: TrainingJob, context: RunContext, store: ArtifactStore, refined: Sequence[ShardOutcome]
) -> dict[str, str]:
    """Score a job's trials under every chain whose shards are all there.

    A chain that failed is written to the ledger as failed and tried again by a later run.

    Args:
        job: the training run.
        context: its run.
        store: where the maps lie and the scores go.
        refined: how the chains ended over all shards of all splits.

    Returns:
        The errors, by chain.

    """
    errors: dict[str, str] = {}
    for chain in context.chains:
        failed = next((one.errors[chain.name] for one in refined if chain.name in one.errors), None)
        seconds = sum(one.seconds.get(chain.name, 0.0) for one in refined)
        rows: LedgerRows | None = None
        for trial in job.trials:
            key = trial.chains[chain.name]
            record = {**_record(trial, chain), "seconds": seconds}
            if failed is not None:
                errors[chain.name] = failed.error
                about = {"status": "failed", "error": failed.error, "traceback": failed.traceback}
                write_part(context.results, "refined", key, [{**record, **about}])
                continue
            if not store.has("scores", key):
                rows = rows or _rows(job, chain, context, store)
                keyed = {
                    table: [
                        {"trial_key": trial.key, "refinement": chain.name, **row} for row in content
                    ]
                    for table, content in rows.items()
                }
                _keep(store, job, key, {**keyed, "refined": [{**record, "status": "ok"}]})
            publish(store, key, context.results)
    return errors


def record_collapsed(job: TrainingJob, context: RunContext, store: ArtifactStore) -> None:
    """Record of every chain of a collapsed job that there is nothing to refine."""
    for chain in context.chains:
        for trial in job.trials:
            key = trial.chains[chain.name]
            if not store.has("scores", key):
                row = {**_record(trial, chain), "status": "collapsed", "seconds": 0.0}
                _keep(store, job, key, {"refined": [row]})
            publish(store, key, context.results)


def _rows(job: TrainingJob, chain: Chain, context: RunContext, store: ArtifactStore) -> LedgerRows:
    cam = context.cam
    rows: LedgerRows = {"scores": [], "panels": []}
    for split in SCORED_SPLITS:
        images = job.images.load(store, split)
        raw = network_maps(job, "student", split, images, store, "cpu", chain.cam)
        maps = chain_maps(job, chain, split, images, store, cam.scaling)
        scores = NetworkScores((maps,), raw.logits, None, None, cam.normalisation)
        rows["scores"] += score_rows(
            scores, images, split=split, network="student", gating=cam.gating
        )
        if split == "test":
            rows["panels"] += panel_rows(scores, images, network="student", count=cam.panels)
    return rows


def _keep(store: ArtifactStore, job: TrainingJob, key: str, rows: LedgerRows) -> None:
    with store.build("scores", key, {"parent": job.key}) as folder:
        for table, content in rows.items():
            if content:
                write_part(folder, table, key, content)


def _record(trial: Trial, chain: Chain) -> LedgerRow:
    return {
        "scores_key": trial.chains[chain.name],
        "trial_key": trial.key,
        "refinement": chain.name,
        "code_revision": environment.code_revision(),
        "host": socket.gethostname(),
        "ended_at": datetime.now(UTC),
    }
