"""Weights from files: what fits is loaded to the bit, what does not is named."""

import hashlib
import pickle
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wsss_core.backbones import build_network, load_weights, read_weights
from wsss_core.errors import InputError

SMALL = {
    "resnet18": {"channels": (8, 8, 16, 32), "zero_init_last": False},
    "vit_tiny_patch16_224": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "convnext_atto": {"dims": (8, 8, 16, 32), "depths": (1, 1, 1, 1)},
}


def whole_model(name: str, size: int = 32, seed: int = 1, **options) -> nn.Module:
    """The timm model as its weights are published: with its head."""
    torch.manual_seed(seed)
    sized = {"img_size": size} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=5, **SMALL[name], **sized, **options).eval()


def write(state: dict[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, file)
    else:
        torch.save(state, file)
    return file


def build(name: str, weights: Path, size: int = 32, **more):
    torch.manual_seed(2)
    return build_network(
        name, classes=2, image_size=size, weights=weights, options=SMALL[name], **more
    ).eval()


def encoder_of(network) -> nn.Module:
    return getattr(network.encoder, "vit", None) or network.encoder.extractor


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("name", list(SMALL))
def test_features_are_those_of_the_model_that_was_saved(tmp_path, name, suffix):
    whole = whole_model(name)
    network = build(name, write(whole.state_dict(), tmp_path / f"weights.{suffix}"))
    images = torch.rand(2, 3, 32, 32)
    expected = whole.forward_features((images - network.mean) / network.std)
    if name.startswith("vit"):
        expected = expected[:, 1:].reshape(2, 4, 4, 24).permute(0, 3, 1, 2)
    torch.testing.assert_close(network(images).features, expected)


def test_a_file_of_the_early_stages_fits_a_network_that_ends_there(tmp_path):
    whole = whole_model("resnet18")
    early = {n: v for n, v in whole.state_dict().items() if not n.startswith(("layer4", "fc"))}
    file = write(early, tmp_path / "early.safetensors")
    own = encoder_of(build("resnet18", file, feature_stage="layer3")).state_dict()
    assert set(own) == set(early)
    assert all(torch.equal(own[name], early[name]) for name in own)


def test_the_head_in_a_file_is_left_out(tmp_path):
    with_head = write(whole_model("vit_tiny_patch16_224").state_dict(), tmp_path / "a.pth")
    state = {n: v for n, v in read_weights(with_head).items() if not n.startswith("head")}
    without = write(state, tmp_path / "b.pth")
    one, other = (build("vit_tiny_patch16_224", file) for file in (with_head, without))
    assert torch.equal(one.head.weight, other.head.weight)
    assert one.head.weight.shape == (2, 24)


@pytest.mark.parametrize("nest", ["state_dict", "model"])
def test_a_checkpoint_may_nest_its_weights_and_prefix_their_names(tmp_path, nest):
    state = {"conv.weight": torch.randn(2, 3), "conv.bias": torch.randn(2)}
    nested = {nest: {f"module.{name}": value for name, value in state.items()}, "epoch": 7}
    torch.save(nested, tmp_path / "checkpoint.pth")
    read = read_weights(tmp_path / "checkpoint.pth")
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)


class Trap:
    """Executed when an unguarded reader unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth cannot be read"):
        read_weights(tmp_path / "weights.pth")
    assert not sprung.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", pickle.dumps([1, 2], protocol=2)])
def test_a_file_that_is_no_weights_file_is_named(tmp_path, suffix, content):
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\.{suffix} (cannot be read|holds no)") as error:
        read_weights(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3, "weight": torch.zeros(2)}])
def test_a_file_without_a_state_dict_is_named(tmp_path, content):
    torch.save(content, tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth holds no state dict of tensors"):
        read_weights(tmp_path / "list.pth")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_is_compared_with_the_digest_of_its_bytes(tmp_path, suffix):
    file = write({"weight": torch.ones(3)}, tmp_path / f"weights.{suffix}")
    planned = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    assert read_weights(file, planned)["weight"].tolist() == [1, 1, 1]
    write({"weight": torch.zeros(3)}, file)
    found = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    said = f"weights file {file} changed since the plan: its digest was {planned} and is {found}"
    with pytest.raises(InputError, match=f"^{re.escape(said)}; run again"):
        read_weights(file, planned)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"weights file .*nowhere\.pth does not exist"):
        build("resnet18", tmp_path / "nowhere.pth")


def test_shapes_that_do_not_fit_are_an_error_that_names_the_first_three(tmp_path):
    torch.manual_seed(0)
    wide = timm.create_model("resnet18", channels=(16, 16, 32, 64))
    file = write(wide.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(InputError) as error:
        build("resnet18", file)
    message = str(error.value)
    differing = 0
    own = timm.create_model("resnet18", **SMALL["resnet18"]).state_dict()
    for name, value in wide.state_dict().items():
        differing += not name.startswith("fc") and value.shape != own[name].shape
    assert "layer1.0.conv1.weight is [16, 64, 3, 3] in the file, [8, 64, 3, 3] in" in message
    assert message.count(" in the file") == 3
    assert message.endswith(f"(and {differing - 3} more)")


def missing_block(tmp_path: Path) -> tuple[Path, set[str]]:
    state = whole_model("vit_tiny_patch16_224").state_dict()
    last = {name for name in state if name.startswith("blocks.1.")}
    kept = {name: value for name, value in state.items() if name not in last}
    return write(kept, tmp_path / "short.safetensors"), last


def test_missing_parameters_are_an_error_that_names_the_first_three(tmp_path):
    file, last = missing_block(tmp_path)
    with pytest.raises(InputError) as error:
        build("vit_tiny_patch16_224", file)
    message = str(error.value)
    assert "lacks blocks.1.norm1.weight; blocks.1.norm1.bias; blocks.1.attn.qkv.weight" in message
    assert f"(and {len(last) - 3} more)" in message
    assert "partial_weights: true" in message


def test_partial_weights_leave_what_the_file_lacks_at_its_random_start(tmp_path):
    file, last = missing_block(tmp_path)
    torch.manual_seed(2)
    fresh = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=32, **SMALL["vit_tiny_patch16_224"]
    )
    own = encoder_of(build("vit_tiny_patch16_224", file, partial_weights=True)).state_dict()
    stored = read_weights(file)
    for name, value in own.items():
        expected = fresh.state_dict()[name] if name in last else stored[name]
        assert torch.equal(value, expected), name


def test_loading_in_part_returns_the_names_that_the_file_lacks(tmp_path):
    file, last = missing_block(tmp_path)
    loaded = load_weights(whole_model("vit_tiny_patch16_224"), file, partial=True)
    assert set(loaded.missing) == last


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_file_of_another_model_is_refused_even_in_part(tmp_path, name):
    file = write(
        {"stem.weight": torch.zeros(2), "fc.weight": torch.zeros(5, 3)}, tmp_path / "x.pth"
    )
    with pytest.raises(InputError, match=r"x\.pth lacks"):
        build(name, file, partial_weights=True)


@pytest.mark.parametrize(
    ("options", "prefixes"),
    [
        ({}, 1),
        ({"reg_tokens": 2}, 3),
        ({"no_embed_class": True}, 0),
        ({"class_token": False, "global_pool": "avg"}, 0),
    ],
)
@pytest.mark.parametrize("size", [16, 64])
def test_a_position_embedding_of_another_grid_is_resampled(tmp_path, options, prefixes, size):
    """At 32 px the grid is 4 x 4; what belongs to no patch is kept as it is."""
    name = "vit_tiny_patch16_224"
    state = whole_model(name, size=32, **options).state_dict()
    state["pos_embed"] = torch.randn(1, prefixes + 16, 24)
    file = write(state, tmp_path / "grid.safetensors")
    target = whole_model(name, size=size, seed=3, **options)
    load_weights(target, file)
    grid = state["pos_embed"][:, prefixes:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
    resampled = nn.functional.interpolate(
        grid, (size // 8, size // 8), mode="bicubic", antialias=True
    )
    own = target.state_dict()["pos_embed"]
    assert torch.equal(own[:, :prefixes], state["pos_embed"][:, :prefixes])
    torch.testing.assert_close(own[:, prefixes:], resampled.flatten(2).transpose(1, 2))
