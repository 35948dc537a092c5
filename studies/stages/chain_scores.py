"""A trial's scores under its refinement chains: from refined maps to ledger rows."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from reports.ledger.parts import write_part
from studies.planning.chains import Chain, base_of
from studies.planning.images import SCORED_SPLITS
from studies.stages import environment as provenance
from studies.stages.cams import network_maps
from studies.stages.publishing import publish
from studies.stages.refinement import ShardOutcome, chain_maps
from studies.stages.scoring import NetworkScores, panel_rows, score_rows
from studies.store.artifacts import ArtifactStore
from wsss_core.data.image_set import ImageSet


def score_chains(
    unit: dict[str, Any],
    context: dict[str, Any],
    store: ArtifactStore,
    walked: Sequence[ShardOutcome],
) -> dict[str, str]:
    """Score a unit's trials under every chain whose shards are all there.

    A chain that failed is written to the ledger as failed and tried again by a later run.

    Args:
        unit: `studies.planning.plan.Unit.as_config()`.
        context: see `studies.runner.run_context`.
        store: where the maps lie and the scores go.
        walked: what the walks over all shards of all splits did.

    Returns:
        The errors, by chain.

    """
    errors: dict[str, str] = {}
    for place, chain in enumerate(map(Chain.from_config, context["chains"])):
        failed = next((one.errors[chain.name] for one in walked if chain.name in one.errors), None)
        seconds = sum(one.seconds.get(chain.name, 0.0) for one in walked)
        rows: dict[str, list[dict[str, Any]]] | None = None
        for trial in unit["trials"]:
            key = trial["chain_keys"][place]
            record = {**_record(trial, chain, key), "seconds": seconds}
            if failed is not None:
                errors[chain.name] = failed[0]
                row = {**record, "status": "failed", "error": failed[0], "traceback": failed[1]}
                write_part(context["results"], "refined", key, [row])
                continue
            if not store.has("scores", key):
                rows = rows or _rows(unit, chain, context, store)
                keyed = {
                    table: [
                        {"trial_key": trial["key"], "refinement": chain.name, **row}
                        for row in content
                    ]
                    for table, content in rows.items()
                }
                _keep(store, unit, key, {**keyed, "refined": [{**record, "status": "ok"}]})
            publish(store, key, context["results"])
    return errors


def record_collapsed(unit: dict[str, Any], context: dict[str, Any], store: ArtifactStore) -> None:
    """Say of every chain of a collapsed unit that there is nothing to refine."""
    for place, chain in enumerate(map(Chain.from_config, context["chains"])):
        for trial in unit["trials"]:
            key = trial["chain_keys"][place]
            if not store.has("scores", key):
                row = {**_record(trial, chain, key), "status": "collapsed", "seconds": 0.0}
                _keep(store, unit, key, {"refined": [row]})
            publish(store, key, context["results"])


def _rows(
    unit: dict[str, Any], chain: Chain, context: dict[str, Any], store: ArtifactStore
) -> dict[str, list[dict[str, Any]]]:
    cam = context["cam"]
    rows: dict[str, list[dict[str, Any]]] = {"scores": [], "panels": []}
    for split in SCORED_SPLITS:
        images = ImageSet.load(store.fetch("images", unit["images"][split]))
        raw = network_maps(unit, "student", split, images, store, "cpu", chain.cam)
        maps = chain_maps(unit, chain, split, images, store, base_of(cam))
        scores = NetworkScores((maps,), raw.logits, None, None, cam["normalisation"])
        rows["scores"] += score_rows(
            scores, images, split=split, network="student", gating=cam["gating"]
        )
        if split == "test":
            rows["panels"] += panel_rows(scores, images, network="student", count=cam["panels"])
    return rows


def _keep(
    store: ArtifactStore, unit: dict[str, Any], key: str, rows: dict[str, list[dict[str, Any]]]
) -> None:
    with store.build("scores", key, {"parent": unit["key"]}) as folder:
        for table, content in rows.items():
            if content:
                write_part(folder, table, key, content)


def _record(trial: dict[str, Any], chain: Chain, key: str) -> dict[str, Any]:
    return {
        "scores_key": key,
        "trial_key": trial["key"],
        "refinement": chain.name,
        "code_revision": provenance.code_revision(),
        "host": socket.gethostname(),
        "ended_at": datetime.now(UTC),
    }
