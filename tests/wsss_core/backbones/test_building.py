"""Building timm's models: same draws, sizes, memory formats, and refusals in one line."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones import build_network, encoder_version
from wsss_core.backbones.names import PLAIN_VITS, SAME_ENCODER, timm_models
from wsss_core.errors import InputError


def by_features_only(name: str, stages: int | None, **options: Any) -> dict[str, Tensor]:
    """The first encoder: an outline for the stages, then those stages, then the head."""
    torch.manual_seed(0)
    outline: Any = timm.create_model(name, features_only=True, **options)
    count = stages or len(outline.feature_info.module_name())
    used = list(range(count))
    extractor: Any = timm.create_model(name, features_only=True, out_indices=used, **options)
    head = nn.Linear(extractor.feature_info.channels()[-1], 2)
    state = {f"encoder.extractor.{key}": value for key, value in extractor.state_dict().items()}
    return {**state, **{f"head.{key}": value for key, value in head.state_dict().items()}}


SAME: list[tuple[str, dict[str, Any]]] = [
    ("resnet18", {"channels": (8, 8, 16, 32)}),
    ("regnetx_002", {}),
    ("res2net50_26w_4s", {}),
    ("resnest14d", {}),
    ("legacy_seresnet18", {}),
    ("skresnet18", {}),
    ("inception_v3", {}),
    ("inception_resnet_v2", {}),
]


def test_every_module_that_keeps_its_keys_is_compared():
    assert {timm_models()[name] for name, _ in SAME} == SAME_ENCODER


@pytest.mark.parametrize(("name", "options"), SAME)
def test_a_network_of_an_old_key_is_the_old_one_to_the_bit(name, options):
    assert encoder_version(name) == 1
    torch.manual_seed(0)
    found = build_network(name, classes=2, image_size=96, options=options).state_dict()
    expected = by_features_only(name, None, **options)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("stride", [None, 8])
def test_an_inner_stage_of_an_old_key_is_the_old_one_to_the_bit(stride):
    options = {"channels": (8, 8, 16, 32)}
    torch.manual_seed(0)
    network = build_network(
        "resnet18",
        classes=2,
        image_size=32,
        feature_stage="layer3",
        output_stride=stride,
        options=options,
    )
    found = network.state_dict()
    expected = by_features_only("resnet18", 4, **options, output_stride=stride or 32)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_all_other_modules_have_keys_of_their_own():
    others = {n for n, module in timm_models().items() if module not in PLAIN_VITS | SAME_ENCODER}
    assert {encoder_version(name) for name in others} == {2}


def build(name: str, **more: Any) -> Any:
    return build_network(name, classes=1, **{"image_size": 64, **more})


def test_a_model_is_built_for_the_size_of_the_images_where_timm_lets_it_be():
    network = build("pit_ti_224", image_size=64)
    assert network.encoder.extractor.pos_embed.shape[-2:] == (7, 7)
    assert network.encoder.grid == (2, 2)


def test_a_model_of_one_size_is_refused_with_that_size_and_the_reason():
    with pytest.raises(InputError, match=r"halonet_h1 cannot take images of 48 px") as refused:
        build("halonet_h1", image_size=48)
    assert "AssertionError at `_assert(H % self.block_size == 0" in str(refused.value)
    assert str(refused.value).endswith("timm's size for it is 256 px")


def test_an_error_of_timm_without_a_message_names_what_was_asked_and_the_line():
    said = r"timm cannot build 'dla46_c' with \{'output_stride': 16\}: AssertionError at `assert"
    with pytest.raises(InputError, match=said):
        build("dla46_c", output_stride=16)


def test_an_output_stride_that_timm_ignores_is_refused(monkeypatch):
    create = timm.create_model

    def ignoring(name: str, output_stride: int = 32, **options: Any) -> Any:
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", ignoring)
    with pytest.raises(InputError, match=r"resnet18: output_stride 8 is not met: .* 2 locations"):
        build("resnet18", output_stride=8)


@pytest.mark.parametrize("name", ["mobileone_s0", "repvgg_a0", "fastvit_t8"])
def test_networks_of_branches_to_merge_keep_pytorchs_memory_format(name):
    kernels = [p for p in build(name).encoder.parameters() if p.ndim == 4]
    assert kernels
    assert all(kernel.is_contiguous() for kernel in kernels)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_other_cnns_lie_channels_last(name):
    kernels = [p for p in build(name).encoder.parameters() if p.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_kernels_of_five_axes_keep_their_format():
    network = build("lambda_resnet26t").eval()
    assert any(parameter.ndim == 5 for parameter in network.parameters())
    assert network(torch.rand(1, 3, 64, 64)).features.shape == (1, 2048, 2, 2)


def test_the_head_pcm_is_refused_where_images_of_half_the_size_are():
    said = "levit_128s: head pcm looks at images at half their size .* 64 px"
    with pytest.raises(InputError, match=said):
        build("levit_128s", image_size=128, head="pcm")


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_building_leaves_batch_norm_and_modes_fresh(name):
    network = build(name)
    assert all(module.training for module in network.modules())
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.running_mean.abs().max() == 0 for norm in norms)
    assert all(norm.num_batches_tracked == 0 for norm in norms)


@pytest.mark.parametrize("options", [{"checkpoint_path": "w.pth"}, {"pretrained": True}])
def test_options_that_are_set_elsewhere_are_refused(options):
    with pytest.raises(InputError, match=f"option {next(iter(options))!r} cannot be given"):
        build("resnet18", options=options)
