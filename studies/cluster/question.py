"""What a plan, or masks, need of every node: folders, plug-ins, weights, GPU memory."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import timm

from reports.ledger.parts import read_table
from reports.storage.locations import Location, is_uri
from studies.cluster.probe import ExpectedFile, HubFile, Question
from studies.masks.worker import UNFINISHED, MaskJob
from studies.planning.chains import Chain
from studies.planning.plan import Plan, Unit
from studies.store.artifacts import ArtifactStore
from studies.store.keys import canonical
from studies.store.layout import MANIFEST
from wsss_core.data.file_hashes import file_hashes
from wsss_core.plugins import is_plugin


def question_about(
    plan: Plan, pending: list[Unit], context: dict[str, Any], *, gpus: bool
) -> Question:
    """What to ask every node before a plan's units are scheduled.

    Args:
        plan: names the plug-ins and the refinement chains.
        pending: the units that have to run; the weights they start from are asked for.
        context: see `studies.runner.run_context`.
        gpus: whether any of them asks for a GPU.

    """
    weights = list(_weights_of(pending))
    files = {
        path: expected_file(Path(path), digest) for kind, digest, path in weights if kind == "file"
    }
    for chain in plan.runnable_chains:
        files |= _files_of(chain)
    return {
        "import_path": context["import_path"],
        "plugins": list(plan.plugins),
        "folders": {"results": context["results"], "store": context["store"]},
        "token": _token(),
        "files": files,
        "pretrained": {tag: hub_file(model) for kind, tag, model in weights if kind == "hub"},
        "gpus": gpus,
        "compiler": any(unit.settings["training"]["compile"] for unit in pending),
    }


def question_about_masks(
    job: MaskJob, image: str, plugins: Iterable[str], import_path: str, *, gpus: bool
) -> Question:
    """What to ask every node before masks are made there.

    Args:
        job: every node has to see its images and its network, and to share the folder of its masks.
        image: one of its images, which stands for all.
        plugins: the network's and the chain's.
        import_path: a folder that is searched for them too.
        gpus: whether the nodes lend any.

    """
    needed = [Path(job.images) / image]
    if not is_uri(job.recipe.store):
        needed.append(ArtifactStore(job.recipe.store).path("train", job.recipe.unit_key) / MANIFEST)
    digests = file_hashes(needed)
    return {
        "import_path": import_path,
        "plugins": list(plugins),
        "folders": {"masks": f"{job.out}/{UNFINISHED}"},
        "token": _token(),
        "files": {
            **{str(f): expected_file(f, digest) for f, digest in zip(needed, digests, strict=True)},
            **_files_of(Chain.from_config(job.recipe.chain)),
        },
        "pretrained": {},
        "gpus": gpus,
        "compiler": False,
    }


def _token() -> str:
    return f".node-check-{uuid.uuid4().hex[:12]}"


def _files_of(chain: Chain) -> dict[str, ExpectedFile]:
    """The files of the large models of a chain, where they lie in folders."""
    files = {}
    for step in chain.steps:
        digests = step.identity.get("weights")
        if isinstance(digests, list) and not is_plugin(step.kind):
            folder = Path(step.arguments["weights"])
            found = sorted(file for file in folder.iterdir() if file.is_file())
            for file, digest in zip(found, digests, strict=True):
                files[str(file)] = expected_file(file, digest)
    return files


def _weights_of(pending: Iterable[Unit]) -> Iterator[tuple[str, str, str]]:
    """("file", digest, path) or ("hub", tag, model) of what the units' networks start from."""
    for unit in pending:
        # Of a teacher that is trained alone first, its own unit reads the weights.
        roles = ("student", "teacher")[: 2 if unit.settings["paradigm"] == "co-training" else 1]
        for role in roles:
            settings, source = unit.settings[role], unit.weights[role]
            if source == "pretrained":
                yield "hub", settings["weights"], settings["model"]
            elif source != "none":
                yield "file", settings["weights"], source


def expected_file(file: Path, digest: str) -> ExpectedFile:
    """A file of the driver's as its nodes should have it."""
    state = file.stat()
    return {"bytes": state.st_size, "modified": state.st_mtime_ns, "digest": digest}


def hub_file(model: str) -> HubFile:
    """Where timm looks for the pretrained weights of a model."""
    config: Any = timm.get_pretrained_cfg(model)
    if config.hf_hub_id:
        repository, _, revision = str(config.hf_hub_id).partition("@")
        return {
            "repository": repository,
            "revision": revision or None,
            "file": config.hf_hub_filename,
        }
    url = config.url
    return {
        "repository": None, "revision": None, "file": url.rpartition("/")[2] if url else None
    }  # fmt: skip


def gpu_needs(pending: list[Unit], whole: float, results: Location) -> dict[float, int]:
    """What trials need of a GPU: the share they get -> the most memory that such trials took.

    Memory is what trials with the same networks, paradigm, batch and image size took on a GPU
    before, by the ledger; 0 where none is measured. Empty if no unit asks for a GPU.

    Args:
        pending: the units that have to run.
        whole: what `gpus: auto` stands for, see `studies.spec.resources.whole_gpu`.
        results: where the ledger is.

    """
    shares = {unit.key: unit.resources.asks(whole).get("GPU", 0.0) for unit in pending}
    asking = [unit for unit in pending if shares[unit.key]]
    if not asking:
        return {}
    columns = ["settings", "device", "peak_memory_bytes"]
    measured = read_table(results, "trials", columns=columns).dropna()
    on_gpu = measured[~measured["device"].str.contains(" CPU, ", regex=False)]
    peaks: dict[str, int] = {}
    for text, peak in zip(on_gpu["settings"], on_gpu["peak_memory_bytes"], strict=True):
        kind = _kind(json.loads(text))
        peaks[kind] = max(peaks.get(kind, 0), int(peak))
    needs: dict[float, int] = {}
    for unit in asking:
        share = min(shares[unit.key], 1.0)
        needs[share] = max(needs.get(share, 0), peaks.get(_kind(unit.settings), 0))
    return needs


def _kind(settings: dict[str, Any]) -> str:
    names = ("paradigm", "student", "teacher", "image_size")
    batch = settings["training"]["batch_size"]
    return canonical([*(settings.get(name) for name in names), batch])
