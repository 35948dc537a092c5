"""Checkpoints by name: what is missing is named at once, and no pickle is read."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.refine.foundation.models import check_foundation, load_foundation

pytest.importorskip("transformers")

KINDS = {"sam": "sam", "sam2": "sam", "clip": "clip"}


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A checkpoint that may be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(checkpoint(name), tmp_path / name))

    return copy


@pytest.mark.parametrize(
    ("name", "model_class", "processor_class"),
    [
        ("sam", "SamModel", "SamProcessor"),
        ("sam2", "Sam2Model", "Sam2Processor"),
        ("clip", "CLIPModel", "CLIPProcessor"),
    ],
)
def test_a_folder_gives_the_saved_model_in_evaluation_mode_and_its_processor(
    checkpoint, name, model_class, processor_class
):
    from safetensors.torch import load_file

    folder = checkpoint(name)
    check_foundation(KINDS[name], folder)
    model, processor = load_foundation(KINDS[name], str(folder))
    assert (type(model).__name__, type(processor).__name__) == (model_class, processor_class)
    assert not any(module.training for module in model.modules())
    state = model.state_dict()
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(state[key], value) for key, value in saved.items())
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}


def test_sharded_weights_are_checked_shard_by_shard_and_loaded(checkpoint, tmp_path):
    model, processor = load_foundation("clip", checkpoint("clip"))
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    processor.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    check_foundation("clip", tmp_path)
    again, _ = load_foundation("clip", tmp_path)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    shards[1].unlink()
    with pytest.raises(InputError, match=rf"has no {shards[1].name}, which .*index\.json names"):
        check_foundation("clip", tmp_path)


@pytest.mark.parametrize(
    ("name", "missing", "named"),
    [
        ("sam", "config.json", r"has no config\.json; expected a SAM or SAM 2 checkpoint saved by "
                               r"transformers \(config\.json, model\.safetensors, "),
        ("sam", "model.safetensors", r"has no model\.safetensors; expected a SAM or SAM 2"),
        ("sam2", "processor_config.json", r"has no preprocessor_config\.json; expected a SAM"),
        ("clip", "model.safetensors", r"has no model\.safetensors; expected a CLIP checkpoint"),
        ("clip", "tokenizer.json", r"has no tokenizer\.json; expected a CLIP checkpoint"),
    ],
)  # fmt: skip
def test_a_missing_file_is_named_with_the_folder_and_what_was_expected(
    copied, name, missing, named
):
    folder = copied(name)
    (folder / missing).unlink()
    for call in (check_foundation, load_foundation):
        with pytest.raises(InputError, match=rf"^refiner {KINDS[name]}: folder .*{name} {named}"):
            call(KINDS[name], folder)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    for weights in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./no/where/at/all", "~/no x"):
        with pytest.raises(InputError, match=r"^refiner sam: folder .* does not exist; expected a"):
            check_foundation("sam", weights)


def test_a_file_of_weights_alone_is_no_checkpoint(tmp_path):
    (tmp_path / "sam_vit_h.pth").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"sam_vit_h\.pth is a file; expected .* in a folder"):
        check_foundation("sam", tmp_path / "sam_vit_h.pth")


@pytest.mark.parametrize(("kind", "other"), [("sam", "clip"), ("clip", "sam2")])
def test_a_checkpoint_of_another_kind_is_refused(checkpoint, kind, other):
    with pytest.raises(InputError, match=rf"config\.json says model_type '{other}', expected one"):
        check_foundation(kind, checkpoint(other))


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_config_that_is_none_is_named(copied, content):
    folder = copied("sam")
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json cannot be read .*; expected a SAM"):
        check_foundation("sam", folder)


class Trap:
    """Executed when an unguarded reader unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_pickle_is_neither_accepted_nor_read(copied, tmp_path):
    folder, sprung = copied("sam"), tmp_path / "sprung"
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Trap(sprung)}, folder / "pytorch_model.bin")
    for call in (check_foundation, load_foundation):
        with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle, which is not read"):
            call("sam", folder)
    assert not sprung.exists()


def test_code_in_a_folder_is_not_run(copied, tmp_path):
    folder, sprung = copied("sam"), tmp_path / "sprung"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Config: ...\n")
    load_foundation("sam", folder)
    assert not sprung.exists()


def test_broken_weights_are_named_in_one_line(copied):
    folder = copied("sam")
    whole = (folder / "model.safetensors").read_bytes()
    for content in (b"", b"not weights at all", whole[: len(whole) // 2]):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"^refiner sam: folder .* cannot be loaded") as error:
            load_foundation("sam", folder)
        assert "\n" not in str(error.value)


def test_weights_that_lack_parameters_are_refused_and_not_filled_at_random(copied):
    from safetensors.torch import load_file, save_file

    folder = copied("sam")
    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if "iou_prediction_head" not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    lacking = len(state) - len(kept)
    with pytest.raises(
        InputError, match=rf"lacks the parameters mask_decoder\.iou.*\(and {lacking - 3} more\)"
    ):
        load_foundation("sam", folder)


def test_weights_of_another_size_are_refused(copied):
    from safetensors.torch import load_file, save_file

    folder = copied("sam")
    state = load_file(folder / "model.safetensors")
    state["mask_decoder.iou_token.weight"] = torch.zeros(1, 8)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"^refiner sam: folder .* cannot be loaded"):
        load_foundation("sam", folder)


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match=r"foundation model 'dino': expected one of sam, clip"):
        check_foundation("dino", "x")


def test_without_the_extra_the_error_says_what_to_install(checkpoint, monkeypatch):
    folders = {kind: checkpoint(kind) for kind in ("sam", "clip")}
    monkeypatch.setitem(sys.modules, "transformers", None)
    for kind, folder in folders.items():
        for call in (check_foundation, load_foundation):
            with pytest.raises(
                InputError, match=rf"refiner {kind}: .*pip install 'wsss-studies\[foundation\]'"
            ):
                call(kind, folder)


@pytest.mark.ci
def test_neither_import_nor_check_loads_transformers(checkpoint):
    """So the package can be had without the extra, and a bad name is found out at once."""
    script = (
        "import sys\n"
        "from wsss_core.refine.foundation import clip_weights, mask_proposals, sam_merging\n"
        "from wsss_core.refine.foundation.models import check_foundation\n"
        f"check_foundation('sam', {str(checkpoint('sam'))!r})\n"
        "assert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


# Hub names, of which the tests see a cache alone


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, offline; any attempt to reach the network fails the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "hub"


def put(cache: Path, name: str, folder: Path, left_out: str = "") -> None:
    """Lay a folder into a hub's cache as `owner/name`."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != left_out:
            shutil.copy(file, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", ["sam", "sam2", "clip"])
def test_a_hub_name_is_loaded_from_the_cache_without_the_network(cache, checkpoint, name):
    put(cache, "owner/tiny", checkpoint(name))
    check_foundation(KINDS[name], "owner/tiny")
    model, _ = load_foundation(KINDS[name], "owner/tiny")
    expected, _ = load_foundation(KINDS[name], checkpoint(name))
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in expected.state_dict().items())


def test_a_cached_model_is_loaded_without_asking_the_hub_even_online(
    cache, checkpoint, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    put(cache, "owner/tiny", checkpoint("sam"))
    check_foundation("sam", "owner/tiny")
    load_foundation("sam", "owner/tiny")


def test_a_hub_name_that_is_not_in_the_cache_is_named(cache):
    with pytest.raises(
        InputError,
        match=r"^refiner sam: owner/tiny is neither a folder nor in the local cache, .*expected a",
    ):
        check_foundation("sam", "owner/tiny")


def test_a_file_missing_from_the_cache_is_named(cache, checkpoint):
    put(cache, "owner/tiny", checkpoint("sam"), left_out="model.safetensors")
    with pytest.raises(InputError, match=r"^refiner sam: owner/tiny has no model\.safetensors"):
        check_foundation("sam", "owner/tiny")
