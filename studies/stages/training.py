"""The `train` stage: from a unit's settings to trained networks in the store.

Artifact: student.safetensors (and teacher.safetensors after co-training), outcome.json.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from studies.store.artifacts import ArtifactStore
from wsss_core.backbones import Network, build_network
from wsss_core.data.image_set import ImageSet
from wsss_core.training.loop import CollapseError, EpochRecord, TrainingSettings, train
from wsss_core.transfer import Alignment, CoTraining, Paradigm, Single, TeacherStudent


def initial_network(settings: dict[str, Any], role: str, weights: str) -> Network:
    """A role's network as training finds it; its random parts follow from the seed alone.

    The same seed gives a network the same start in every configuration: trials are paired by seed.
    """
    backbone = settings[role]
    torch.manual_seed(settings["seed"])
    return build_network(
        backbone["model"],
        classes=len(settings["classes"]),
        image_size=settings["image_size"],
        weights=weights,
        partial_weights=backbone["partial_weights"],
        feature_stage=backbone["stage"],
        output_stride=backbone["output_stride"],
        head=backbone["head"],
        options=backbone["options"],
    )


def load_network(store: ArtifactStore, key: str, settings: dict[str, Any], role: str) -> Network:
    """A trained network; `settings[role]` describes it, the file holds every number of it."""
    network = initial_network(settings, role, "none")
    file = store.fetch("train", key, whole=True) / f"{role}.safetensors"
    if not file.exists():
        # A teacher that was trained before, alone, was the student of its own training run.
        file = file.with_name("student.safetensors")
    network.load_state_dict(load_file(file))
    return network.eval()


def build_paradigm(
    settings: dict[str, Any], weights: dict[str, str], teacher: Network | None
) -> Paradigm:
    """The networks and the loss that a unit's settings describe.

    Args:
        settings: see `studies.planning.plan.Unit`.
        weights: role -> file, "pretrained" or "none".
        teacher: the trained teacher of a teacher-student unit.

    """
    student = initial_network(settings, "student", weights["student"])
    if settings["paradigm"] == "single":
        return Single(student)
    if settings["paradigm"] == "co-training":
        teacher = initial_network(settings, "teacher", weights["teacher"])
    if teacher is None:
        raise ValueError("a teacher-student unit needs its trained teacher")
    transfer = dict(settings["transfer"])
    # How strongly and on whom the loss acts is the paradigm's; the rest says what is aligned.
    acts = {k: transfer.pop(k) for k in ("gradient", "ema") if k in transfer}
    acts |= {"transfer_weight": transfer.pop("weight"), "lambda_warmup": transfer.pop("warmup")}
    torch.manual_seed(settings["seed"])
    alignment = Alignment(student, teacher, **transfer)
    kind = CoTraining if settings["paradigm"] == "co-training" else TeacherStudent
    return kind(student, teacher, alignment, **acts)


def train_unit(
    unit: dict[str, Any],
    images: ImageSet,
    store: ArtifactStore,
    *,
    device: str,
    given: dict[str, Any] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> dict[str, Any]:
    """Train a unit unless the store holds it; going on from its last epoch if it was broken off.

    Args:
        unit: `studies.planning.plan.Unit.as_config()`.
        images: the training split.
        store: where its teacher lies and its networks go.
        device: "cpu" or "cuda".
        given: what this process was given of the machine ("cpus", "gpus", "device" by its name),
            kept with the outcome.
        on_epoch: called after each epoch.

    Returns:
        The outcome: status ("ok" or "collapsed"), error, history, images, parameters, given,
        micro_batch (the most images at once where memory ran out, else None).

    Raises:
        torch.OutOfMemoryError: not even one image at a time fits.

    """
    if store.has("train", unit["key"]):
        return outcome_of(store, unit["key"])
    settings = unit["settings"]
    teacher = None
    status, error = "ok", None
    if unit["parent"] is not None:
        if not store.has("train", unit["parent"]):
            raise RuntimeError("its teacher is not trained: that training run failed")
        parent = outcome_of(store, unit["parent"])
        if parent["status"] != "ok":
            status, error = "collapsed", f"its teacher collapsed: {parent['error']}"
        else:
            teacher = load_network(store, unit["parent"], settings, "teacher")
    history: list[EpochRecord] = []
    networks: dict[str, Network] = {}

    def after_epoch(record: EpochRecord) -> None:
        # The checkpoint of this epoch is written.
        store.keep_scratch("train", unit["key"])
        if on_epoch is not None:
            on_epoch(record)

    if status == "ok":
        paradigm = build_paradigm(settings, unit["weights"], teacher)
        networks = paradigm.networks
        try:
            history = train(
                paradigm,
                images.images,
                images.labels,
                TrainingSettings.from_config(**settings["training"]),
                seed=settings["seed"],
                device=device,
                checkpoint=store.scratch("train", unit["key"]) / "checkpoint.pt",
                on_epoch=after_epoch,
            )
        except CollapseError as collapse:
            status, error, history = "collapsed", str(collapse), collapse.history
    outcome = {
        "status": status,
        "error": error,
        "history": [asdict(record) for record in history],
        "images": len(images),
        "parameters": sum(p.numel() for n in networks.values() for p in n.parameters()),
        "given": given,
        "micro_batch": history[-1].micro_batch if history else None,
    }
    made_by = {"host": socket.gethostname(), "pid": os.getpid()}
    about = {"settings": settings, "parent": unit["parent"], "made_by": made_by}
    with store.build("train", unit["key"], about) as folder:
        for role, network in networks.items():
            save_file(_on_cpu(network), folder / f"{role}.safetensors")
        (folder / "outcome.json").write_text(json.dumps(outcome))
    return outcome


def outcome_of(store: ArtifactStore, key: str) -> dict[str, Any]:
    """How a finished training ended."""
    file: Path = store.fetch("train", key) / "outcome.json"
    outcome: dict[str, Any] = json.loads(file.read_text())
    return outcome


def _on_cpu(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
