"""Which decoder of segmentation-models-pytorch takes which encoder, tried by one pass."""

import ast
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsss_core import segmentation
from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings, build_segmenter, check_segmenter
from wsss_core.segmentation.decoders import LibrarySegmenter

smp = pytest.importorskip("segmentation_models_pytorch")

TINY = {"channels": (8, 8, 16, 32)}
WITH_STAGES = [
    "unet", "unetplusplus", "deeplabv3", "deeplabv3plus", "segformer", "upernet", "fpn", "pspnet",
]  # fmt: skip


def settings(model, encoder="resnet18", **more):
    if encoder == "resnet18":
        more = {"encoder_options": TINY, **more}
    return SegmenterSettings(model, encoder, **more)


def check(model, encoder="resnet18", size=64, **more):
    check_segmenter(settings(model, encoder, **more), classes=2, image_size=size)


@pytest.mark.parametrize("model", WITH_STAGES)
def test_decoders_of_stages_take_a_cnn(model):
    check(model)


@pytest.mark.parametrize(
    ("model", "encoder", "size"),
    [
        ("unet", "convnext_atto", 64),
        ("upernet", "swin_tiny_patch4_window7_224", 64),
        ("fpn", "pvt_v2_b0", 64),
        ("deeplabv3plus", "mobilenetv3_small_100", 64),
        ("dpt", "vit_tiny_patch16_224", 64),
        ("dpt", "vit_small_patch16_dinov3", 64),
        ("dpt", "vit_base_patch16_rope_reg1_gap_256", 32),
    ],
)
@pytest.mark.ci
def test_decoders_take_what_they_are_made_for(model, encoder, size):
    check(model, encoder, size)


@pytest.mark.parametrize(
    ("model", "encoder", "size", "more", "said"),
    [
        ("fpn", "resnet18", 100, {}, "multiples of 32 px, got 100; the nearest is 96 or 128"),
        ("deeplabv3plus", "resnet18", 20, {}, "of 16 px, got 20; the nearest is 16 or 32"),
        ("unet", "vit_tiny_patch16_224", 64, {}, "has no stages, .* one of the decoders dpt, setr"),
        ("deeplabv3plus", "swin_tiny_patch4_window7_224", 64, {}, "takes no output_stride"),
        ("deeplabv3", "vgg11", 64, {}, "takes no output_stride"),
        ("dpt", "resnet18", 64, {}, "expected a plain ViT, whose maps have one stride"),
        ("dpt", "vit_tiny_patch16_224", 40, {}, "multiples of 16 px, got 40"),
        ("dpt", "vit_small_patch14_reg4_dinov2", 56, {}, "over vit_small_patch14_reg4_dinov2"),
        ("unet", "levit_128s", 64, {}, "has no stages|cannot be built"),
        (
            "pspnet", "resnet18", 64, {"options": {"encoder_depth": 5}},
            "encoder_depth 5 gives masks of another size; set upsampling: 32",
        ),
        (
            "pspnet", "resnet18", 64, {"options": {"encoder_depth": 5, "upsampling": 4}},
            r"gives logits \[2, 3, 8, 8\], expected \[2, 3, 64, 64\]",
        ),
        ("unet", "resnet18", 64, {"options": {"classes": 3}}, "option 'classes', expected one of"),
        (
            "unet", "resnet18", 64, {"encoder_options": {"nonsense": 3}},
            "unexpected keyword argument 'nonsense'",
        ),
        (
            "dpt", "vit_tiny_patch16_224", 64, {"encoder_options": {"depth": 3}},
            "'depth' is a word of the library's own",
        ),
        ("unet", "resnet18", 64, {"options": {"encoder_depth": 3}}, "cannot be built: ValueError"),
        ("unet", "resnet17", 64, {"encoder_options": {}}, "has no model 'resnet17'; nearest"),
        ("unet", "resnet18", 64, {"encoder_options": {"img_size": 3}}, "set with the data"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line_before_training(model, encoder, size, more, said):
    with pytest.raises(InputError, match=said) as caught:
        check(model, encoder, size, **more)
    assert "\n" not in str(caught.value)


def test_a_u_net_takes_any_size():
    segmenter = build_segmenter(settings("unet"), classes=1, image_size=100)
    assert segmenter(torch.rand(2, 3, 50, 70)).shape == (2, 2, 50, 70)


def test_the_logits_are_those_of_the_library_on_normalised_images():
    torch.manual_seed(0)
    segmenter = build_segmenter(settings("unet"), classes=2, image_size=64).eval()
    torch.manual_seed(0)
    bare = smp.Unet("tu-resnet18", encoder_weights=None, classes=3, **TINY).eval()
    images = torch.rand(2, 3, 64, 64)
    config = timm.get_pretrained_cfg("resnet18")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    assert torch.allclose(segmenter(images), bare((images - mean) / std), atol=1e-5)


def test_encoder_and_head_share_the_parameters_between_them():
    segmenter = build_segmenter(settings("unet"), classes=1, image_size=64)
    assert isinstance(segmenter, LibrarySegmenter)
    encoder = {id(p) for p in segmenter.encoder_parameters()}
    head = {id(p) for p in segmenter.head_parameters()}
    assert encoder == {id(p) for p in segmenter.model.encoder.parameters()}
    assert encoder | head == {id(p) for p in segmenter.parameters()}
    assert not encoder & head


@pytest.mark.parametrize(
    ("model", "encoder", "options"),
    [
        ("unet", "resnet18", TINY),
        ("unet", "convnext_atto", {}),
        ("unet", "swin_tiny_patch4_window7_224", {"window_size": 4}),
        ("unet", "efficientnet_b0", {}),
        ("dpt", "vit_tiny_patch16_224", {}),
    ],
)
@pytest.mark.ci
def test_a_weights_file_reaches_every_tensor_of_the_encoder(model, encoder, options, tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model(encoder, **options)
    state = {name: tensor + 0.25 for name, tensor in whole.state_dict().items()
             if tensor.is_floating_point()}  # fmt: skip
    save_file(state, tmp_path / "weights.safetensors")
    size = 224 if options.get("window_size") else 64
    segmenter = build_segmenter(
        SegmenterSettings(
            model, encoder, str(tmp_path / "weights.safetensors"), encoder_options=options
        ),
        classes=1,
        image_size=size,
    )
    left = {tensor.double().sum().item() for tensor in state.values()}
    parameters = list(segmenter.model.encoder.parameters())
    assert len(parameters) > 40
    if model != "dpt":  # its position embedding is resampled
        assert {parameter.double().sum().item() for parameter in parameters} <= left


def test_a_file_of_another_network_is_refused(tmp_path):
    save_file({"stem.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="lacks"):
        build_segmenter(
            settings("unet", weights=str(tmp_path / "weights.safetensors")),
            classes=1,
            image_size=64,
        )


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wsss-studies\[segmentation\]"):
        build_segmenter(settings("unet"), classes=1, image_size=64)


def test_the_library_is_loaded_by_its_own_decoders_alone():
    top = {
        name.split(".")[0]
        for file in Path(segmentation.__file__).parent.glob("*.py")
        for node in ast.parse(file.read_text()).body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "torch" in top
    assert top.isdisjoint({"segmentation_models_pytorch", "peft", "transformers"})
