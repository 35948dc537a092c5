"""What a worker does with one unit: train it, score its trials, write them to the ledger.

Nothing here knows Ray: `run_unit` can be called in a debugger.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from reports.ledger.parts import read_table, write_part
from reports.storage.errors import StorageError
from reports.storage.opening import open_folder
from studies.planning.images import SCORED_SPLITS
from studies.stages import environment as provenance
from studies.stages.chain_scores import record_collapsed
from studies.stages.failures import LeaseLostError, fault_of
from studies.stages.publishing import publish
from studies.stages.refinement import prepare_unit
from studies.stages.scoring import (
    NetworkScores,
    collapse_of,
    fused,
    network_scores,
    panel_rows,
    score_rows,
)
from studies.stages.training import outcome_of, train_unit
from studies.store.artifacts import ArtifactStore
from studies.store.keys import canonical
from studies.store.leases import Lease
from wsss_core.data.image_set import ImageSet
from wsss_core.plugins import search_in
from wsss_core.training.loop import CollapseError, EpochRecord

TRIES = 3
"""Of a unit whose errors come of a storage that is there again."""

PAUSE_S = 1.0
"""Between them."""

GIVEN = ("cpus", "gpus")
"""The ledger's columns of what a trial's process was given of the machine."""


def run_unit(unit: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Train a unit and score its trials; what the store holds is not made again.

    The unit's lease is held meanwhile. An error of the unit ends in the ledger as a failed trial,
    with its traceback, and is returned: the other trials of the study go on.

    Args:
        unit: `studies.planning.plan.Unit.as_config()`.
        context: see `studies.runner.run_context`.

    Returns:
        status, error and the seconds it took. How it ended: "ok", "collapsed" or "failed", which is
        marked `unrecorded` if it could not be written to the ledger. That it did not end:
        "elsewhere", another driver's worker is at it; "damaged", what others made for it was set
        aside and has to be made again; "storage", nothing can be kept; "device", this process's GPU
        cannot be used. Of an "ok" also `unprepared`, see `studies.stages.refinement.prepare_unit`.

    """
    search_in(context["import_path"])
    try:
        store = ArtifactStore(context["store"], expect=True)
        open_folder(context["results"], expect=True)
        lease = store.leases.take("train", unit["key"], run=context.get("run", ""))
    except StorageError as away:
        return {"status": "storage", "error": str(away)}
    if lease is None:
        return {"status": "elsewhere", "error": None}
    started = time.perf_counter()
    with lease:
        for left in reversed(range(TRIES)):
            outcome = _tried(unit, context, store, lease, last=not left)
            if outcome["status"] != "again":
                break
            time.sleep(PAUSE_S)
    return {**outcome, "seconds": time.perf_counter() - started}


def _tried(
    unit: dict[str, Any],
    context: dict[str, Any],
    store: ArtifactStore,
    lease: Lease,
    *,
    last: bool,
) -> dict[str, Any]:
    """One try of a unit; "again" where the next will do, unless it is the last."""
    record: dict[str, Any] = {}
    try:
        record = _record(unit, context)
        status, error = _train_and_score(unit, context, store, record, lease)
        for trial in unit["trials"]:
            publish(store, trial["key"], context["results"])
        outcome: dict[str, Any] = {"status": status, "error": error}
        if status == "ok" and unit["trials"]:  # a teacher that no row reports is not refined
            outcome["unprepared"] = prepare_unit(unit, context, store)
        elif status != "ok":
            record_collapsed(unit, context, store)
        return outcome
    except LeaseLostError:
        return {"status": "elsewhere", "error": None}
    except Exception as failure:
        trace = traceback.format_exc()
        fault, said = fault_of(failure, unit, context, store)
    if fault in ("damaged", "storage", "device") or (fault == "again" and not last):
        return {"status": fault, "error": said}
    outcome = {"status": "failed", "error": said}
    if not recorded_failure(unit, context, said, trace, record):
        outcome["unrecorded"] = True
    return outcome


def finished_unit(
    unit: dict[str, Any], context: dict[str, Any], store: ArtifactStore
) -> dict[str, Any]:
    """Bring a unit that others have finished to this run's ledger; its status and error."""
    for trial in unit["trials"]:
        for key in (trial["key"], *trial["chain_keys"]):
            publish(store, key, context["results"])
    if not unit["trials"]:
        found = outcome_of(store, unit["key"])
        return {"status": found["status"], "error": found["error"]}
    # A unit that was trained well may have collapsed when it was scored.
    keys, columns = [unit["trials"][0]["key"]], ["status", "error"]
    rows = read_table(context["results"], "trials", keys=keys, columns=columns)
    return {str(name): value for name, value in rows.iloc[0].items()}


def recorded_failure(
    unit: dict[str, Any],
    context: dict[str, Any],
    error: str,
    trace: str | None = None,
    record: dict[str, Any] | None = None,
) -> bool:
    """Write a unit's trials to the ledger as failed, if that is possible; whether it was."""
    try:
        record_failure(unit, context, error, trace, record)
    except Exception:
        return False
    return True


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
        write_part(context["results"], "trials", trial["key"], [row])


def _train_and_score(
    unit: dict[str, Any],
    context: dict[str, Any],
    store: ArtifactStore,
    record: dict[str, Any],
    lease: Lease,
) -> tuple[str, str | None]:
    device = context["device"]
    memory = provenance.PeakMemory(device)
    training_images = ImageSet.load(store.fetch("images", unit["images"]["train"]))
    # A later run may find the networks trained, and score them on another device.
    given = {**{name: context.get(name) for name in GIVEN}, "device": record["device"]}
    outcome = train_unit(
        unit, training_images, store,
        device=device, given=given, on_epoch=_after_epoch(unit, store, lease),
    )  # fmt: skip
    lease.report("scoring")
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
        "micro_batch": outcome.get("micro_batch"),
        # Of the training, which may have been another run's.
        **(outcome.get("given") or {}),
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
        rows["history"] = [
            {name: value for name, value in epoch.items() if name != "micro_batch"}
            for epoch in history
        ]
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


def _after_epoch(
    unit: dict[str, Any], store: ArtifactStore, lease: Lease
) -> Callable[[EpochRecord], None]:
    """What a training does after each epoch: say so, and let others go on from there."""
    epochs = unit["settings"]["training"]["epochs"]

    def on_epoch(epoch: EpochRecord) -> None:
        if lease.lost:
            raise LeaseLostError
        lease.report(f"epoch {epoch.epoch + 1} of {epochs}")
        store.keep_scratch("train", unit["key"])

    return on_epoch


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
        images = ImageSet.load(store.fetch("images", unit["images"][split]))
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
        **{name: context.get(name) for name in GIVEN},
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
