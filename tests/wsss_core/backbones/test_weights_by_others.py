"""Weights under the names that trainers and authors give them, and files that hold odd things."""

import argparse
import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import checkpoint_filter_fn
from torch import nn

from wsss_core.backbones import build_network, load_weights, read_weights
from wsss_core.errors import InputError

VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def vit(seed: int, name: str = "vit_tiny_patch16_224", **options) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=0, img_size=32, **{**VIT, **options}).eval()


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    return vit(1).state_dict()


def assert_loaded(model: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    own = model.state_dict()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name], expected[name]) for name in own)


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


HEAD = {"head.mlp.0.weight": torch.ones(2, 2)}
WRAPPED = {
    "timm": lambda state: state,
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3},
    "lightning, nested": lambda state: {"state_dict": prefixed(state, "model.backbone.net.")},
    "mmseg": lambda state: {
        "meta": {"epoch": 3},
        "state_dict": {**prefixed(state, "backbone."), "decode_head.weight": torch.ones(3)},
    },
    "data parallel": lambda state: {"model": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled, data parallel": lambda state: {"state_dict": prefixed(state, "_orig_mod.module.")},
    "average": lambda state: {"state_dict_ema": prefixed(state, "module.")},
    "dino": lambda state: {
        "student": prefixed({n: v + 1 for n, v in state.items()}, "module.backbone."),
        "teacher": {**prefixed(state, "backbone."), **HEAD},
    },
    "ibot, flat": lambda state: {
        **prefixed({n: v + 1 for n, v in state.items()}, "student.backbone."),
        **prefixed(state, "teacher.backbone."),
        **HEAD,
    },
    "ijepa": lambda state: {"encoder": prefixed(state, "module."), "predictor": HEAD},
    "half": lambda state: {n: v.half() for n, v in state.items()},
    "double": lambda state: {n: v.double() for n, v in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_under_the_prefix_of_what_trained_them(tmp_path, published, wrap):
    torch.save(wrap(published), tmp_path / "weights.pth")
    target = vit(2)
    loaded = load_weights(target, tmp_path / "weights.pth")
    assert loaded.missing == ()
    assert loaded.expected == len(published)
    own = target.state_dict()
    for name, value in published.items():
        torch.testing.assert_close(own[name], value, rtol=1e-3, atol=1e-4)


def test_tensors_in_a_prefix_are_those_of_the_file_to_the_bit(tmp_path, published):
    save_file(prefixed(published, "model."), tmp_path / "w.safetensors", {"format": "pt"})
    target = vit(2)
    load_weights(target, tmp_path / "w.safetensors")
    assert_loaded(target, published)


def test_a_file_that_holds_the_network_twice_asks_for_one(tmp_path, published):
    twice = {**prefixed(published, "encoder_q."), **prefixed(published, "encoder_k.")}
    torch.save({"state_dict": twice}, tmp_path / "moco.pth")
    with pytest.raises(InputError, match=r"2 times, under 'encoder_q\.' and 'encoder_k\.'"):
        load_weights(vit(2), tmp_path / "moco.pth")


@pytest.mark.parametrize("partial", [False, True])
def test_names_of_another_network_are_counted_and_shown(tmp_path, published, partial):
    torch.save({f"stem.{n}q": v for n, v in published.items()}, tmp_path / "other.pth")
    with pytest.raises(InputError) as error:
        load_weights(vit(2), tmp_path / "other.pth", partial=partial)
    assert "lacks cls_token; pos_embed; patch_embed.proj.weight" in str(error.value)
    assert f"{len(published)} tensors expected, 0 found" in str(error.value)
    assert "begin with 'stem.'" in str(error.value)
    assert "partial_weights" not in str(error.value)


def test_a_name_deep_in_another_network_is_not_taken_for_the_networks_own(tmp_path):
    other = {"blocks.0.norm.weight": torch.ones(24), "blocks.0.mix.weight": torch.ones(5)}
    torch.save({**other, "blocks.0.mix.bias": torch.ones(5)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="0 found"):
        load_weights(vit(2), tmp_path / "other.pth", partial=True)


def test_one_tensor_of_all_is_counted(tmp_path, published):
    torch.save({"state_dict": {"net.pos_embed": published["pos_embed"]}}, tmp_path / "one.pth")
    loaded = load_weights(vit(2), tmp_path / "one.pth", partial=True)
    assert str(loaded).startswith(f"1 of {len(published)} tensors come from one.pth; the rest")
    with pytest.raises(InputError, match=rf"{len(published)} tensors expected, 1 found"):
        load_weights(vit(2), tmp_path / "one.pth")


def test_the_official_swin_names_are_translated_by_timm(tmp_path):
    """They number a stage's downsampling from the stage before it."""
    small = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "num_classes": 0}
    torch.manual_seed(1)
    whole = timm.create_model("swin_tiny_patch4_window7_224", **small)
    official = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name): v
        for name, v in whole.state_dict().items()
    }
    assert official.keys() != whole.state_dict().keys()
    torch.save({"model": official}, tmp_path / "swin.pth")
    target = timm.create_model("swin_tiny_patch4_window7_224", **small)
    assert load_weights(target, tmp_path / "swin.pth").missing == ()
    assert_loaded(target, whole.state_dict())


def test_the_official_names_of_deit_iii_are_translated_by_timm(tmp_path):
    options = {"init_values": 1e-4, "no_embed_class": True}
    whole = vit(1, "deit3_small_patch16_224", **options).state_dict()
    official = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): v for name, v in whole.items()}
    torch.save({"model": official}, tmp_path / "deit3.pth")
    target = vit(2, "deit3_small_patch16_224", **options)
    load_weights(target, tmp_path / "deit3.pth")
    assert_loaded(target, whole)


def test_dinov2_with_registers_has_its_class_position_added_to_the_token(tmp_path):
    options = {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}
    name = "vit_small_patch14_reg4_dinov2"
    whole = vit(1, name, **options).state_dict()
    official = {n: v for n, v in whole.items() if n != "reg_token"}
    row = torch.randn(1, 1, 24)
    official["register_tokens"] = whole["reg_token"]
    official["cls_token"] = whole["cls_token"] - row
    official["pos_embed"] = torch.cat([row, whole["pos_embed"]], 1)
    official["mask_token"] = torch.zeros(1, 24)
    torch.save(official, tmp_path / "dinov2.pth")
    target = vit(2, name, **options)
    load_weights(target, tmp_path / "dinov2.pth")
    for tensor, value in target.state_dict().items():
        torch.testing.assert_close(value, whole[tensor])


def test_relative_positions_of_another_size_are_resampled_by_timm(tmp_path):
    small = {"embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 0}
    whole, target = (
        timm.create_model("beit_base_patch16_224", img_size=size, **small) for size in (64, 96)
    )
    name = "blocks.0.attn.relative_position_bias_table"
    state = whole.state_dict()
    torch.save({**state, name: torch.full_like(state[name], 3.0)}, tmp_path / "beit.pth")
    load_weights(target, tmp_path / "beit.pth")
    table = target.state_dict()[name]
    assert table.shape != state[name].shape
    torch.testing.assert_close(table, torch.full_like(table, 3.0))
    assert torch.equal(target.state_dict()["cls_token"], state["cls_token"])


SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}


@pytest.mark.parametrize("by", ["timm", "its authors"])
def test_an_inner_stage_takes_weights_of_another_size(tmp_path, by):
    name = "swin_tiny_patch4_window7_224"
    torch.manual_seed(1)
    published = timm.create_model(name, **SWIN, img_size=224).state_dict()
    with torch.no_grad():  # tables that resampling changes
        for tensor, value in published.items():
            if "bias_table" in tensor:
                value.normal_()
    state = dict(published)
    if by == "its authors":  # they end a stage with what timm begins the next with
        state = {
            re.sub(
                r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", n
            ): v
            for n, v in state.items()
        }
    torch.save({"model": state}, tmp_path / "swin.pth")
    # A window of 4 instead of 7: at 32 px the first stage has 8 x 8 patches.
    network = build_network(
        name,
        classes=1,
        image_size=32,
        feature_stage="layers.1",
        weights=tmp_path / "swin.pth",
        options={**SWIN, "window_size": 4},
    ).eval()
    whole = timm.create_model(name, **SWIN, img_size=32, window_size=4)
    whole.load_state_dict(checkpoint_filter_fn(dict(published), whole))
    images = torch.rand(1, 3, 32, 32)
    (expected,) = whole.eval().forward_intermediates(
        (images - network.mean) / network.std, indices=[1], intermediates_only=True
    )
    torch.testing.assert_close(network(images).features, expected)


def test_positions_that_timm_does_not_resample_are_refused_with_the_way_out(tmp_path):
    sizes = (224, 128)
    small = {"base_dims": (8, 8, 8), "depth": (1, 1, 1), "heads": (1, 1, 1), "num_classes": 0}
    whole, target = (timm.create_model("pit_ti_224", img_size=size, **small) for size in sizes)
    torch.save(whole.state_dict(), tmp_path / "pit.pth")
    with pytest.raises(
        InputError, match=r"pos_embed is \[.*give images of the size of the weights"
    ):
        load_weights(target, tmp_path / "pit.pth")


@pytest.mark.parametrize(
    ("beside", "named"),
    [(argparse.Namespace(lr=1), "argparse.Namespace"), (np.float64(3), r"numpy\S*scalar")],
)
def test_what_is_no_tensor_is_named_with_the_code_that_saves_the_rest(
    tmp_path, published, beside, named, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    torch.save({"epoch": 3, "state_dict": published, "args": beside}, "timm.pth")
    with pytest.raises(InputError, match=rf"timm\.pth cannot be read: .*{named}") as error:
        read_weights("timm.pth")
    message = str(error.value)
    assert "\x1b" not in message
    assert "\n" not in message
    exec(message.partition("save its tensors alone: ")[2].replace(";", "\n").replace("\n ", "\n"))
    target = vit(2)
    load_weights(target, "timm_tensors.pth")
    assert_loaded(target, published)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, published, value):
    published["blocks.1.mlp.fc1.weight"][3, 3] = value
    torch.save(published, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"nan\.pth: blocks\.1\.mlp\.fc1\.weight holds values"):
        load_weights(vit(2), tmp_path / "nan.pth")


def test_bounds_that_the_model_itself_has_open_may_be_infinite(tmp_path):
    small = {"depth": 1, "embed_dim": 48, "num_heads": 2, "img_size": 64}
    published = timm.create_model("gemma4_vit_167m", num_classes=0, **small).state_dict()
    name = next(name for name, value in published.items() if value.isinf().any())
    torch.save(published, tmp_path / "bounds.pth")
    target = timm.create_model("gemma4_vit_167m", num_classes=0, **small)
    load_weights(target, tmp_path / "bounds.pth")
    assert_loaded(target, published)
    torch.save({**published, name: torch.tensor(float("nan"))}, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"holds values that are not finite"):
        load_weights(target, tmp_path / "nan.pth")


def test_a_double_that_single_precision_cannot_hold_is_refused(tmp_path, published):
    state = {name: value.double() for name, value in published.items()}
    state["norm.weight"][0] = 1e300
    torch.save(state, tmp_path / "double.pth")
    with pytest.raises(InputError, match=r"norm\.weight holds values that are not finite"):
        load_weights(vit(2), tmp_path / "double.pth")


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_tensors_of_other_kinds_are_refused_by_name(tmp_path, published, kind):
    published["norm.weight"] = published["norm.weight"].to(kind)
    torch.save(published, tmp_path / "kind.pth")
    said = rf"norm\.weight is {str(kind).removeprefix('torch.')}, expected float16"
    with pytest.raises(InputError, match=said):
        load_weights(vit(2), tmp_path / "kind.pth")


def test_an_empty_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(InputError, match=r"empty\.pth cannot be read: it is empty"):
        read_weights(tmp_path / "empty.pth")
    with pytest.raises(InputError, match=r"is a folder, expected a file; it holds empty\.pth$"):
        read_weights(tmp_path)


def test_every_translation_of_timm_is_found():
    """Each module with one hands it to its models; CrossViT's is part of a function."""
    from pathlib import Path

    from wsss_core.backbones.weights import _translation

    for file in sorted(Path(timm.__file__).parent.glob("models/*.py")):
        source = file.read_text(encoding="utf-8")
        if "pretrained_filter_fn=" not in source or file.stem in ("_builder", "crossvit"):
            continue
        name = re.search(r"^@register_model\s*\n(?:@.*\n)*def (\w+)\(", source, re.MULTILINE)
        assert name is not None, file
        model = argparse.Namespace(pretrained_cfg={"architecture": name[1]})
        assert _translation(model) is not None, file


def test_a_network_is_built_from_a_prefixed_file(tmp_path, published):
    torch.save({"state_dict": prefixed(published, "model.")}, tmp_path / "prefix.pth")
    network = build_network(
        "vit_tiny_patch16_224",
        classes=2,
        image_size=32,
        weights=tmp_path / "prefix.pth",
        options=VIT,
    )
    assert_loaded(network.encoder.vit, published)
