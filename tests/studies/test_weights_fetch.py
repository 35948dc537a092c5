"""`wsss weights fetch`: what it puts into the folder, and a study that runs from there offline."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from studies.planning import make_plan
from studies.spec.study import Study
from studies.stages.training import initial_network
from wsss_core.fetched_weights import WEIGHTS_FOLDER

Raw = dict[str, Any]
NAME = "test_resnet.r160_in1k"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Weights as a hub holds them."""
    torch.manual_seed(9)
    file = tmp_path / "published.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture
def hub(
    published: Path, checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """A hub, and the names that it was asked for."""
    asked: list[str] = []

    def download(name: str, file: str, *, revision: str | None, local_dir: Path) -> str:
        asked.append(name)
        return shutil.copy(published, Path(local_dir) / file)

    def snapshot(name: str, *, allow_patterns: Any, local_dir: Path) -> str:
        asked.append(name)
        return str(shutil.copytree(checkpoint("sam"), local_dir))

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.delenv(WEIGHTS_FOLDER, raising=False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.fixture
def named(tiny: Raw) -> Raw:
    """A study of a pretrained network, twice, and SAM by its hub's name."""
    cnn = {"model": "test_resnet", "label": "CNN", "weights": "pretrained"}
    tiny["backbones"] |= {"cnn": cnn, "same": {**cnn, "label": "Same"}}
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["refiners"] = {"sam": {"weights": "owner/tiny"}}
    tiny["chains"] = {"sam": ["sam"]}
    return tiny


def test_every_weight_is_fetched_once_and_the_study_then_plans_and_builds_offline(
    wsss: Any, write_study: Any, named: Raw, hub: list[str], published: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "weights"
    ended = wsss("weights", "fetch", write_study(named), "--to", folder)
    assert ended.code == 0
    assert hub == [f"timm/{NAME}", "owner/tiny"]
    sam, cnn = sorted(folder.iterdir())
    assert cnn.name.startswith(f"{NAME}.")
    assert sam.name.startswith("owner--tiny.")
    assert ended.out.splitlines()[-1].endswith(f"export {WEIGHTS_FOLDER}={folder}")

    again = wsss("weights", "fetch", write_study(named), "--to", folder)
    assert again.out.count("was there") == 2
    assert len(hub) == 2

    monkeypatch.setenv(WEIGHTS_FOLDER, str(folder))
    assert wsss("plan", write_study(named)).code == 0
    (job,) = make_plan(Study.model_validate(named)).jobs.values()
    network: Any = initial_network(job, "student", job.weights["student"])
    assert torch.equal(
        network.encoder.extractor.state_dict()["conv1.0.weight"],
        load_file(published)["conv1.0.weight"],
    )
    assert len(hub) == 2


def test_the_folder_changes_no_key(
    named: Raw, hub: list[str], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss_core.fetched_weights import keep

    del named["refiners"], named["chains"]
    monkeypatch.setenv("HOME", str(tmp_path))
    without = make_plan(Study.model_validate(named)).jobs
    keep(published, NAME, tmp_path / "weights")
    monkeypatch.setenv(WEIGHTS_FOLDER, str(tmp_path / "weights"))
    assert list(make_plan(Study.model_validate(named)).jobs) == list(without)


def test_a_plan_names_the_key_of_weights_that_were_not_fetched(
    wsss: Any, write_study: Any, named: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del named["refiners"], named["chains"]
    monkeypatch.setenv(WEIGHTS_FOLDER, str(tmp_path))
    ended = wsss("plan", write_study(named))
    assert ended.code == 2
    assert f"backbones.cnn.weights: {WEIGHTS_FOLDER}={tmp_path} does not hold {NAME}" in ended.err


def test_a_damaged_file_is_fetched_anew(
    wsss: Any, write_study: Any, named: Raw, hub: list[str], published: Path, tmp_path: Path
) -> None:
    del named["refiners"], named["chains"]
    wsss("weights", "fetch", write_study(named), "--to", tmp_path / "weights")
    (entry,) = (tmp_path / "weights").iterdir()
    entry.write_bytes(b"cut")
    wsss("weights", "fetch", write_study(named), "--to", tmp_path / "weights")
    assert entry.read_bytes() == published.read_bytes()


def test_a_study_that_names_no_weights_says_so(
    wsss: Any, write_study: Any, tiny: Raw, tmp_path: Path
) -> None:
    ended = wsss("weights", "fetch", write_study(tiny), "--to", tmp_path / "weights")
    assert (ended.code, ended.out.strip()) == (
        0,
        "tiny names no weights to fetch: none is pretrained, none is of a hub",
    )
