"""Weights that were fetched ahead: found by name, compared with their digest, never asked for."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import PretrainedCfg

from wsss_core.backbones import build_network, pretrained
from wsss_core.backbones.pretrained import download_pretrained
from wsss_core.errors import InputError
from wsss_core.fetched_weights import WEIGHTS_FOLDER, checked, fetched, fetched_in, keep
from wsss_core.refine.foundation import models
from wsss_core.refine.foundation.models import (
    check_foundation,
    download_foundation,
    load_foundation,
)

NAME = "test_resnet.r160_in1k"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched weights, with any network a failure."""
    monkeypatch.setenv(WEIGHTS_FOLDER, str(tmp_path / "weights"))

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "weights"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A file of weights as timm publishes them, of other numbers than a fresh model's."""
    torch.manual_seed(9)
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


def built() -> dict[str, torch.Tensor]:
    network: Any = build_network("test_resnet", classes=1, image_size=64, weights="pretrained")
    return dict(network.encoder.extractor.state_dict())


def test_pretrained_weights_come_from_the_folder_without_a_network(folder, trained):
    keep(trained, NAME, folder)
    own, given = built(), load_file(trained)
    assert torch.equal(own["conv1.0.weight"], given["conv1.0.weight"])
    assert sum(torch.equal(own[key], given[key]) for key in own if key in given) > 50


def test_a_folder_without_the_weights_says_what_fetches_them(folder):
    with pytest.raises(InputError, match=rf"does not hold {NAME}; .*wsss weights fetch STUDY --to"):
        fetched(NAME)


def test_without_the_environment_the_hub_may_be_asked(tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_FOLDER, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetched(NAME) is None


def test_a_fetched_file_that_changed_is_refused(folder, trained):
    entry = keep(trained, NAME, folder)
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)
    with pytest.raises(InputError, match="its content differs from the digest in its name"):
        built()


def test_another_name_or_an_unfinished_copy_is_no_entry(folder, trained):
    keep(trained, "test_resnet.r160_in1k_ema", folder)
    (folder / f"{NAME}.safetensors").write_bytes(b"")
    assert fetched_in(folder, NAME) is None


def test_newer_weights_of_a_name_replace_the_older(folder, trained):
    old = keep(trained, NAME, folder)
    trained.write_bytes(trained.read_bytes() + b" ")
    new = keep(trained, NAME, folder)
    assert [entry.name for entry in folder.iterdir()] == [new.name]
    assert old.name != new.name


def test_two_entries_of_a_name_are_named(folder, trained):
    entry = keep(trained, NAME, folder)
    (folder / f"{NAME}.{'0' * 32}.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=f"more than once: .*{entry.name}.*; delete all but one"):
        fetched(NAME)


def test_a_copy_that_fails_leaves_nothing(folder, trained, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        keep(trained, NAME, folder)
    assert list(folder.iterdir()) == []


@pytest.fixture
def server(trained: Path) -> Iterator[str]:
    """A loopback server of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(trained.parent))

        def log_message(self, *_: Any) -> None: ...

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()


def configured(monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
    """Let timm say that a model's weights lie elsewhere."""
    given = PretrainedCfg(architecture="test_resnet", tag="r160_in1k", **config)
    monkeypatch.setattr(pretrained, "timm_config", lambda name: given)


def test_a_url_is_downloaded(server, trained, tmp_path, monkeypatch):
    configured(monkeypatch, url=f"{server}/{trained.name}")
    found = download_pretrained("test_resnet", tmp_path / "scratch")
    assert found.parent == tmp_path / "scratch"
    assert found.read_bytes() == trained.read_bytes()


def test_a_url_that_is_not_there_is_one_line(server, tmp_path, monkeypatch):
    configured(monkeypatch, url=f"{server}/none.pth")
    with pytest.raises(InputError, match=rf"^{NAME} cannot be downloaded: .*404.*$"):
        download_pretrained("test_resnet", tmp_path)


def test_a_model_without_weights_is_named(tmp_path, monkeypatch):
    configured(monkeypatch)
    with pytest.raises(InputError, match="timm has no pretrained weights for test_resnet; expect"):
        download_pretrained("test_resnet", tmp_path)


@pytest.mark.parametrize("held", ["model.safetensors", "pytorch_model.bin"])
def test_of_a_hub_repository_safetensors_come_first_then_what_timm_names(
    held, tmp_path, monkeypatch
):
    from huggingface_hub.errors import EntryNotFoundError

    asked = []

    def download(name: str, file: str, *, revision: str | None, local_dir: Path) -> str:
        asked.append((name, file, revision))
        if file != held:
            raise EntryNotFoundError(file)
        (local_dir / file).write_bytes(b"weights")
        return str(local_dir / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    configured(monkeypatch, hf_hub_id="timm/test_resnet.r160_in1k@abc")
    assert download_pretrained("test_resnet", tmp_path) == tmp_path / held
    assert asked[-1] == ("timm/test_resnet.r160_in1k", held, "abc")


# SAM and CLIP


@pytest.fixture
def hub(checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub with one repository, a tiny SAM, and a pickle that is not to be downloaded."""
    import shutil

    def snapshot(name: str, *, allow_patterns: tuple[str, ...], local_dir: Path) -> str:
        shutil.copytree(
            checkpoint("sam"),
            local_dir,
            ignore=lambda at, names: [
                one for one in names if not any(Path(one).match(p) for p in allow_patterns)
            ],
        )
        return str(local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)


def test_a_fetched_sam_is_found_by_its_hub_name_and_compared(hub, folder, tmp_path):
    entry = keep(download_foundation("sam", "owner/tiny", tmp_path), "owner/tiny", folder)
    check_foundation("sam", "owner/tiny")
    model, _ = load_foundation("sam", "owner/tiny")
    assert type(model).__name__ == "SamModel"
    assert checked(entry) == entry
    (entry / "config.json").write_text((entry / "config.json").read_text() + " ")
    with pytest.raises(InputError, match="its content differs from the digest in its name"):
        load_foundation("sam", "owner/tiny")


def test_a_download_of_another_kind_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match="says model_type 'sam', expected one of clip"):
        download_foundation("clip", "owner/tiny", tmp_path)


def test_a_hub_name_that_was_not_fetched_names_the_key(folder):
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match=r"^refiners\.sam\.weights: .* does not hold owner/tiny"):
        check_foundation("sam", "owner/tiny")


def test_a_hub_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from huggingface_hub import constants

    monkeypatch.delenv(WEIGHTS_FOLDER, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models, "HUB_TIMEOUT", 0.3)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: time.sleep(20))
    began = time.monotonic()
    with pytest.raises(
        InputError,
        match=r"the hub did not answer within 0\.3 s; `wsss weights fetch STUDY` fetches it where "
        r"there is a network \(refiners\.sam\.weights\)",
    ):
        check_foundation("sam", "owner/tiny")
    assert time.monotonic() - began < 5
