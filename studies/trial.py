"""What a worker does with one unit: train it, score its trials, write them to the ledger.

Nothing here knows Ray: `run_unit` can be called in a debugger.
"""

from __future__ import annotations

import socket
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.ledger import write_part
from studies import provenance
from studies.artifacts import ArtifactStore
from studies.chain_scores import record_collapsed
from studies.keys import canonical
from studies.publishing import publish
from studies.refinement_stage import prepare_unit
from studies.scoring_stage import (
    NetworkScores,
    collapse_of,
    fused,
    network_scores,
    panel_rows,
    score_rows,
)
from studies.sources import SCORED_SPLITS
from studies.training_stage import train_unit
from wsss_core.data.image_set import ImageSet
from wsss_core.plugins import search_in
from wsss_core.training import CollapseError


def run_unit(unit: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Train a unit and score its trials; what the store holds is not made again.

    An error ends in the ledger as a failed trial, with its traceback, and is returned: the other
    trials of the study go on.

    Args:
        unit: `studies.plan.Unit.as_config()`.
        context: where things lie and what all units share, see `studies.runner`: store, results,
            device, cam (settings), chains, import_path (searched for plug-ins).

    Returns:
        status ("ok", "collapsed" or "failed") and error.

    """
    search_in(context["import_path"])
    store = ArtifactStore(Path(context["store"]))
    record = _record(unit, context)
    try:
        status, error = _train_and_score(unit, context, store, record)
        if status == "ok":
            prepare_unit(unit, context, store)
        else:
            record_collapsed(unit, context, store)
    except Exception as failure:
        error = " ".join(f"{type(failure).__name__}: {failure}".split())
        record_failure(unit, context, error, traceback.format_exc(), record)
        return {"status": "failed", "error": error}
    for trial in unit["trials"]:
        publish(store, trial["key"], Path(context["results"]))
    return {"status": status, "error": error}


def record_failure(
    unit: dict[str, Any],
    context: dict[str, Any],
    error: str,
    trace: str | None = None,
    record: dict[str, Any] | None = None,
) -> None:
    """Write a unit's trials to the ledger as failed; a later run tries them again."""
    failed = {"status": "failed", "error": error, "traceback": trace}
    for trial in unit["trials"]:
        row = {**(record or _record(unit, context)), **_identity(trial), **failed}
        write_part(Path(context["results"]), "trials", trial["key"], [row])


def _train_and_score(
    unit: dict[str, Any],
    context: dict[str, Any],
    store: ArtifactStore,
    record: dict[str, Any],
) -> tuple[str, str | None]:
    device = context["device"]
    memory = provenance.PeakMemory(device)
    training_images = ImageSet.load(store.path("images", unit["images"]["train"]))
    outcome = train_unit(unit, training_images, store, device=device)
    history = outcome["history"]
    seconds = sum(epoch["seconds"] for epoch in history)
    record = {
        **record,
        "status": outcome["status"],
        "error": outcome["error"],
        "seconds_training": seconds,
        "images_per_second": outcome["images"] * len(history) / seconds if history else None,
        "epochs": len(history),
        "parameters": outcome["parameters"],
    }
    for trial in unit["trials"]:
        if store.has("scores", trial["key"]):
            continue
        started = time.perf_counter()
        rows: dict[str, list[dict[str, Any]]] = {}
        if record["status"] == "ok":
            try:
                rows, collapse = _scored(unit, context, store)
            except CollapseError as not_finite:
                collapse = str(not_finite)
            if collapse is not None:
                # A result with its numbers: whatever could be scored is kept.
                record |= {"status": "collapsed", "error": collapse}
        rows["history"] = history
        rows["trials"] = [{
            **record,
            **_identity(trial),
            "seconds_scoring": time.perf_counter() - started,
            "peak_memory_bytes": memory.bytes(),
        }]  # fmt: skip
        with store.build("scores", trial["key"], {"parent": unit["key"]}) as folder:
            for table, content in rows.items():
                keyed = [{"trial_key": trial["key"], **row} for row in content]
                if keyed:
                    write_part(folder, table, trial["key"], keyed)
    return record["status"], record["error"]


def _scored(
    unit: dict[str, Any], context: dict[str, Any], store: ArtifactStore
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """The rows of `scores` and `panels` of a unit's networks, without the trial's key.

    After co-training both networks are scored, and their fusion. The second value says which of
    them has collapsed, if one has.
    """
    cam = context["cam"]
    rows: dict[str, list[dict[str, Any]]] = {"scores": [], "panels": []}
    collapse = None
    for split in SCORED_SPLITS:
        images = ImageSet.load(store.path("images", unit["images"][split]))
        found: dict[str, NetworkScores] = {
            role: network_scores(unit, role, split, images, store, context["device"], cam)
            for role in trained_roles(unit["settings"]["paradigm"])
        }
        if len(found) > 1:
            found["fused"] = fused(list(found.values()))
        for role, scores in found.items():
            scored = score_rows(scores, images, split=split, network=role, gating=cam["gating"])
            rows["scores"] += scored
            reason = collapse_of(scored, images.classes, cam["gating"])
            collapse = collapse or (f"{role}: {reason}" if reason else None)
            if split == "test":
                rows["panels"] += panel_rows(scores, images, network=role, count=cam["panels"])
    return rows, collapse


def trained_roles(paradigm: str) -> tuple[str, ...]:
    """The networks that a paradigm trains: both after co-training."""
    return ("student", "teacher") if paradigm == "co-training" else ("student",)


def _record(unit: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """What is known of a unit's trials before they run."""
    return {
        "code_revision": provenance.code_revision(),
        "package_version": provenance.package_version(),
        "packages": provenance.versions(),
        "device": provenance.device_name(context["device"]),
        "host": socket.gethostname(),
        "started_at": datetime.now(UTC),
        "train_fingerprint": unit["fingerprints"]["train"],
        "evaluation_fingerprint": "-".join(unit["fingerprints"][s] for s in SCORED_SPLITS),
        "settings": canonical({**unit["settings"], "cam": context["cam"]}),
    }


def _identity(trial: dict[str, Any]) -> dict[str, Any]:
    """The columns of the `trials` table that say which trial it is."""
    names = {"configuration": trial["configuration"], "seed": trial["seed"]}
    return {"trial_key": trial["key"], **names}
