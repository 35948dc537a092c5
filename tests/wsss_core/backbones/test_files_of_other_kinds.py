"""Files under `weights:` that are no weights, or not of the kind that their names say."""

import io

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from wsss_core.backbones import build_network, load_weights, read_weights
from wsss_core.errors import InputError

VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32}


def vit(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def numpy_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, kernel=np.zeros((2, 2)))
    return file.getvalue()


def run_advice(message: str) -> None:
    """Run the lines of Python that a message ends with."""
    code = message[message.index("import torch;") :]
    exec(code.replace("; ", "\n"), {})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
WEIGHTS = {"weight": torch.arange(300.0)}
OTHERS = {
    "a pointer of Git LFS": (POINTER, r"pointer of Git LFS; `git lfs pull`"),
    "a web page": (
        b"<!DOCTYPE html>\n<html>404</html>",
        r"a text that begins with '<!DOCTYPE html>'",
    ),
    "an error of a server": (b'{"error": {"code": 401}}', r"a text that begins with"),
    "NumPy arrays": (numpy_archive(), r"an archive of NumPy arrays"),
    "half a checkpoint": (saved(WEIGHTS)[:-700], r"ends too early"),
    "half of safetensors": (save(WEIGHTS)[:-700], r"ends too early"),
    "something else": (b"\x89HDF\r\n\x1a\n\x00\x00", r"expected safetensors or a checkpoint"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_weights_file_is_told_by_its_content(tmp_path, kind, suffix):
    content, said = OTHERS[kind]
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\.{suffix} cannot be read: .*{said}") as error:
        read_weights(file)
    assert "weights_only" not in str(error.value), "PyTorch's advice would run the file's code"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "written"), [("a.pth", save), ("a.safetensors", saved)])
def test_the_content_decides_and_not_the_name(tmp_path, name, written):
    (tmp_path / name).write_bytes(written(WEIGHTS))
    assert torch.equal(read_weights(tmp_path / name)["weight"], WEIGHTS["weight"])


@pytest.mark.parametrize(
    "nested", [lambda model: model, lambda model: {"epoch": 1, "model": model}], ids=["alone", "in"]
)
def test_of_a_pickled_module_the_advice_saves_the_tensors(tmp_path, nested, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(nested(vit(1)), "module.pth")
    with pytest.raises(InputError, match=r"beside tensors it holds timm\.") as error:
        read_weights("module.pth")
    run_advice(str(error.value))
    target = vit(2)
    load_weights(target, "module_tensors.pth")
    assert all(map(torch.equal, target.state_dict().values(), vit(1).state_dict().values()))


def test_of_a_network_held_twice_the_advice_saves_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state: dict[str, Tensor] = vit(1).state_dict()
    twice = {f"module.{side}.{n}": v for side in ("base", "momentum") for n, v in state.items()}
    torch.save({"state_dict": twice}, "moco.pth")
    with pytest.raises(InputError, match=r"2 times, under 'base\.' and 'momentum\.'") as error:
        load_weights(vit(2), "moco.pth")
    run_advice(str(error.value))
    target = vit(2)
    load_weights(target, "moco_base.pth")
    assert all(map(torch.equal, target.state_dict().values(), state.values()))


@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_a_sparse_tensor_is_called_sparse(tmp_path):
    state = vit(1).state_dict()
    torch.save({**state, "norm.weight": state["norm.weight"].to_sparse()}, tmp_path / "s.pth")
    with pytest.raises(InputError, match=r"norm\.weight is sparse, expected a dense tensor"):
        load_weights(vit(2), tmp_path / "s.pth")


HEADS = {
    "convnext_atto": ({"dims": (8, 8, 16, 32), "depths": (1, 1, 1, 1)}, "head.norm.weight"),
    "mobilenetv3_small_050": ({}, "conv_head.weight"),
    "vit_base_patch16_siglip_224": (VIT, "attn_pool.kv.weight"),
    "resnet50_clip": ({}, "head.pos_embed"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.ci) if "clip" in name else name for name in HEADS],
)
@pytest.mark.parametrize("change", ["left out", "of another size", "not finite"])
def test_what_only_a_classifier_needs_may_be_anything(tmp_path, name, change):
    options, of_head = HEADS[name]
    torch.manual_seed(1)
    whole = timm.create_model(name, **options)
    state = whole.state_dict()
    changed = {
        "left out": {},
        "of another size": {of_head: torch.ones(3)},
        "not finite": {of_head: state[of_head] * float("nan")},
    }[change]
    del state[of_head]
    save_file({**state, **changed}, tmp_path / "w.safetensors")
    given = {n: v for n, v in options.items() if n != "img_size"}
    network = build_network(
        name, classes=1, image_size=32, weights=tmp_path / "w.safetensors", options=given
    )
    loaded = network.initial_weights
    assert loaded is not None
    assert not loaded.missing
    own = network.encoder.model.state_dict()
    others = [n for n in state if n in own and not n.startswith(of_head.partition(".")[0])]
    assert others
    assert all(torch.equal(own[n], state[n]) for n in others)
    assert own[of_head].isfinite().all()
