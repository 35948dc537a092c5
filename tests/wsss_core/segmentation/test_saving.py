"""A saved segmenter is the segmenter, and its file holds all that was trained."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wsss_core.errors import InputError
from wsss_core.segmentation import (
    FitSettings,
    SegmenterSettings,
    build_segmenter,
    fit,
    load_segmenter,
    save_segmenter,
)
from wsss_core.segmentation.saving import TrainedPart, check_holds_gradients
from wsss_core.segmentation.tokens import TokenSegmenter

QUICK = FitSettings(steps=2, batch_size=2, optimizer="adamw", learning_rate=1e-3, head_multiple=1)


def same(one, other):
    images = torch.rand(2, 3, 16, 16)
    return torch.equal(one.eval()(images), other.eval()(images))


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("image_encoder", ["frozen", "lora", "trained"])
def test_a_trained_sam_comes_back_to_the_bit(kind, image_encoder, sam, squares, tmp_path):
    segmenter = sam(kind, image_encoder=image_encoder)
    fit(segmenter, squares, QUICK, seed=0)
    save_segmenter(segmenter, tmp_path / "model.safetensors")
    torch.manual_seed(1)
    again = load_segmenter(tmp_path / "model.safetensors")
    assert same(segmenter, again)
    assert not same(segmenter, sam(kind, image_encoder=image_encoder))
    assert again.settings == segmenter.settings


@pytest.mark.parametrize("kind", ["sam", "sam2"])
@pytest.mark.parametrize("image_encoder", ["frozen", "lora"])
def test_the_file_holds_every_parameter_with_a_gradient_and_no_frozen_one(
    kind, image_encoder, sam, squares, tmp_path
):
    segmenter = sam(kind, image_encoder=image_encoder)
    images = torch.rand(2, 3, 16, 16)
    segmenter(images)[:, 1].square().mean().backward()
    save_segmenter(segmenter, tmp_path / "model.safetensors")
    kept = load_file(tmp_path / "model.safetensors")
    parameters = dict(segmenter.named_parameters())
    with_gradient = {name for name, p in parameters.items() if p.grad is not None}
    frozen = {name for name, p in parameters.items() if not p.requires_grad}
    assert with_gradient <= kept.keys()
    assert frozen.isdisjoint(kept)
    assert len(frozen) > 20
    assert any("lora_A" in name for name in kept) == (image_encoder == "lora")


def test_a_parameter_that_is_trained_but_not_kept_is_found_out(sam, monkeypatch, tmp_path):
    segmenter = sam(image_encoder="frozen")
    thawed = segmenter.model.vision_encoder.neck.conv1.weight
    state = TrainedPart(segmenter).state_dict()
    check_holds_gradients(segmenter, state)
    thawed.requires_grad_(True)
    with pytest.raises(AssertionError, match=r"neck\.conv1\.weight is trained but is not saved"):
        check_holds_gradients(segmenter, state)
    thawed.requires_grad_(False)
    thawed.grad = torch.zeros_like(thawed)
    with pytest.raises(AssertionError, match="is trained but is not saved"):
        save_segmenter(segmenter, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_a_vit_with_its_head_comes_back_to_the_bit(setr, squares, tmp_path):
    segmenter = setr("setr_mla", neck=8)
    fit(segmenter, squares, QUICK, seed=0)
    save_segmenter(segmenter, tmp_path / "folder" / "model.safetensors")
    again = load_segmenter(tmp_path / "folder" / "model.safetensors")
    assert isinstance(again, TokenSegmenter)
    assert same(segmenter, again)
    assert (again.classes, again.image_size, again.training) == (1, 16, False)


def test_a_library_model_comes_back_without_the_weights_file_it_began_with(squares, tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    import timm

    options = {"channels": (8, 8, 16, 32)}
    start = tmp_path / "start.safetensors"
    save_file(timm.create_model("resnet18", **options).state_dict(), start)
    settings = SegmenterSettings("unet", "resnet18", str(start), encoder_options=options)
    segmenter = build_segmenter(settings, classes=1, image_size=16)
    fit(segmenter, squares, QUICK, seed=0)
    save_segmenter(segmenter, tmp_path / "model.safetensors")
    start.unlink()
    again = load_segmenter(tmp_path / "model.safetensors")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(segmenter(images), again(images))


def test_loading_leaves_random_numbers_as_they_were(setr, tmp_path):
    save_segmenter(setr(), tmp_path / "model.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_segmenter(tmp_path / "model.safetensors")
    assert torch.equal(torch.rand(2), expected)


def test_a_file_with_a_flipped_bit_or_cut_off_is_refused(setr, tmp_path):
    file = tmp_path / "model.safetensors"
    save_segmenter(setr(), file)
    whole = file.read_bytes()
    for damaged in (whole[:-5], whole[:5000] + bytes([whole[5000] ^ 4]) + whole[5001:], b"", b"x"):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_segmenter(file)
    with pytest.raises(InputError, match="No such file"):
        load_segmenter(tmp_path / "absent.safetensors")


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="expected a file of save_segmenter"):
        load_segmenter(tmp_path / "other.safetensors")


def test_frozen_parameters_that_have_changed_are_refused(sam, lively, tmp_path):
    from transformers import SamModel, SamProcessor

    mine = tmp_path / "mine"
    model = SamModel.from_pretrained(lively("sam"))
    model.save_pretrained(mine)
    SamProcessor.from_pretrained(lively("sam")).save_pretrained(mine)
    settings = SegmenterSettings("sam", weights=str(mine))
    save_segmenter(build_segmenter(settings, classes=1, image_size=16), tmp_path / "m.safetensors")
    with torch.no_grad():
        model.vision_encoder.neck.conv1.weight.add_(1)
    model.save_pretrained(mine)
    with pytest.raises(InputError, match="its frozen parameters differ"):
        load_segmenter(tmp_path / "m.safetensors")


def test_another_version_of_a_plugin_is_refused(tmp_path, monkeypatch):
    source = "from torch import nn\nVERSION = 1\n\n\ndef flat(*, classes, image_size):\n"
    source += "    return nn.Conv2d(3, classes + 1, 1)\n"
    (tmp_path / "flat_segmenter.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings = SegmenterSettings("flat_segmenter:flat")
    segmenter = build_segmenter(settings, classes=1, image_size=16)
    save_segmenter(segmenter, tmp_path / "model.safetensors")
    assert same(segmenter, load_segmenter(tmp_path / "model.safetensors"))
    monkeypatch.setattr("flat_segmenter.VERSION", 2)
    with pytest.raises(InputError, match=r"made with version 1 .* which is 2 now"):
        load_segmenter(tmp_path / "model.safetensors")


def test_a_segmenter_put_together_by_hand_is_not_saved(setr, tmp_path):
    segmenter = setr()
    segmenter.settings = None
    with pytest.raises(InputError, match="expected one of build_segmenter"):
        save_segmenter(segmenter, tmp_path / "model.safetensors")
