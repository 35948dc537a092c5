"""SAM and SAM 2 as segmenters, through tiny random models saved to disk."""

import numpy as np
import pytest
import torch

from wsss_core.data import to_input
from wsss_core.errors import InputError
from wsss_core.refine import load_foundation
from wsss_core.segmentation import (
    FitSettings,
    SegmenterSettings,
    build_segmenter,
    check_segmenter,
    fit,
)
from wsss_core.segmentation.lora import add_lora, attention_projections

pytest.importorskip("transformers")
KINDS = ["sam", "sam2"]


def picture(height=40, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 40), (24, 40), (80, 30)])
def test_images_are_prepared_as_by_the_models_own_processor(kind, shape, sam, lively):
    segmenter = sam(kind)
    _, processor = load_foundation("sam", lively(kind))
    image = picture(*shape)
    expected = processor(images=image, return_tensors="pt")["pixel_values"]
    found = segmenter.prepared(to_input(image[np.newaxis]))
    assert found.shape == expected.shape
    # The processor rounds the resized image to whole grey levels; one is about 0.017.
    assert (found - expected).abs().max() < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 40), (24, 40)])
def test_masks_are_those_of_the_model_without_prompts(kind, shape, sam, lively):
    model, processor = load_foundation("sam", lively(kind))
    segmenter = sam(kind).eval()
    inputs = to_input(picture(*shape)[np.newaxis])
    with torch.no_grad():
        logits = segmenter(inputs)
        # In training mode SAM 2 does not replace masks that it finds unstable.
        raw = model.train()(pixel_values=segmenter.prepared(inputs), multimask_output=False)
    sizes = {"original_sizes": [shape]}
    if kind == "sam":
        sizes["reshaped_input_sizes"] = [segmenter.fitted(inputs)]
    masks = processor.post_process_masks(raw.pred_masks, **sizes, binarize=False)[0]
    assert logits.shape == (1, 2, *shape)
    assert torch.equal(logits[:, 0], torch.zeros_like(logits[:, 0]))
    assert torch.allclose(logits[:, 1], masks[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation_give_the_same_masks(kind, sam):
    segmenter, inputs = sam(kind), to_input(picture()[np.newaxis])
    assert torch.equal(segmenter.train()(inputs), segmenter.eval()(inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_has_a_mask_of_its_own_of_three(kind, sam):
    logits = sam(kind, classes=3)(to_input(picture()[np.newaxis]))
    assert logits.shape == (1, 4, 40, 40)
    assert len({one.sum().item() for one in logits[0]}) == 4
    with pytest.raises(InputError, match="4 classes, expected 1 to 3"):
        sam(kind, classes=4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image_encoder", ["frozen", "lora", "trained"])
def test_gradients_reach_the_decoder_and_what_of_the_encoder_is_trained(kind, image_encoder, sam):
    segmenter = sam(kind, image_encoder=image_encoder)
    segmenter(to_input(picture()[np.newaxis]))[:, 1].square().mean().backward()
    reached = {
        name.removeprefix("model.")
        for name, parameter in segmenter.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }
    decoder = {name for name in reached if name.startswith("mask_decoder.")}
    encoder = reached - decoder
    assert len(decoder) > 20
    assert all(name.startswith("vision_encoder.") for name in encoder)
    if image_encoder == "frozen":
        assert not encoder
    elif image_encoder == "trained":
        assert any("qkv.weight" in name for name in encoder)
    else:
        # B starts at zero, so A has no gradient at the first step.
        assert encoder
        assert all(".qkv.lora_B." in name for name in encoder)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_hits_each_attention_of_the_image_encoder_and_changes_nothing_at_first(kind, sam):
    plain, adapted = sam(kind).eval(), sam(kind, image_encoder="lora", rank=2).eval()
    inputs = to_input(picture()[np.newaxis])
    # Attention with gradients rounds otherwise than without.
    assert torch.allclose(plain(inputs), adapted(inputs), rtol=1e-4, atol=1e-3)
    blocks = {"sam": 1, "sam2": 5}[kind]
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(names) == blocks
    assert all("vision_encoder" in name for name in names)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(1.0)
    assert not torch.allclose(plain(inputs), adapted(inputs), atol=1)


@pytest.mark.parametrize(("rank", "alpha"), [(0, None), (2.0, None), (2, 0)])
def test_numbers_of_lora_out_of_range_are_refused(rank, alpha, sam):
    with pytest.raises(InputError, match="expected 1 or more, and above 0"):
        sam(image_encoder="lora", rank=rank, alpha=alpha)


def test_a_model_without_such_attention_gets_no_adapters():
    pytest.importorskip("peft")
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    kinds = (torch.nn.MultiheadAttention,)
    assert attention_projections(model, kinds) == []
    with pytest.raises(InputError, match="no attention of the types MultiheadAttention"):
        add_lora(model, kinds, rank=2)


def test_without_peft_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wsss-studies\[segmentation\]"):
        add_lora(torch.nn.Linear(2, 2), (torch.nn.Linear,), rank=2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SegmenterSettings("sam"), "needs weights: a folder or a hub's name"),
        (SegmenterSettings("sam", weights="/no/such"), "does not exist"),
        (SegmenterSettings("sam", options={"image_encoder": "thawed"}), "expected one of frozen"),
        (SegmenterSettings("sam", options={"ranks": 2}), "unexpected keyword argument 'ranks'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(settings, said, lively):
    if settings.options:
        settings = SegmenterSettings("sam", weights=str(lively("sam")), options=settings.options)
    with pytest.raises(InputError, match=said) as caught:
        build_segmenter(settings, classes=1, image_size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_sam_passes_the_check_of_segmenters(kind, lively):
    settings = SegmenterSettings("sam", weights=str(lively(kind)))
    check_segmenter(settings, classes=1, image_size=24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image_encoder", ["frozen", "lora"])
def test_training_changes_the_decoder_and_the_adapters_alone(kind, image_encoder, sam, squares):
    segmenter = sam(kind, image_encoder=image_encoder)
    before = {name: p.detach().clone() for name, p in segmenter.named_parameters()}
    settings = FitSettings(
        steps=3, batch_size=2, optimizer="adamw", learning_rate=1e-3, head_multiple=1
    )
    fit(segmenter, squares, settings, seed=0)
    changed = {name for name, p in segmenter.named_parameters() if not torch.equal(p, before[name])}
    assert any("mask_decoder" in name for name in changed)
    others = {name for name in changed if "mask_decoder" not in name}
    assert all("lora" in name for name in others)
    assert bool(others) == (image_encoder == "lora")
