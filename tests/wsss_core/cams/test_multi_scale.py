"""CAMs of an image set at several scales, beside a loop over images, scales and flips."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from wsss_core import evaluate
from wsss_core.backbones import Network, Output, build_network
from wsss_core.cams import (
    CamSettings,
    attention_cams,
    cams,
    check_cam,
    class_weight_cams,
    grad_cam,
    gradient_cams,
    layer_cam,
)
from wsss_core.cams.restoring import resized_for
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
SCALES = (0.5, 1.0, 1.5, 2.0)


def network_for(kind, side: int, request) -> Network:
    """The same network built for another size; timm resamples a ViT's position embedding."""
    build = request.getfixturevalue(kind)
    network = build(classes=2, size=32).eval()
    if kind == "cnn" or side == 32:
        return network
    other = build(classes=2, size=side).eval()
    state = network.state_dict()
    name = "encoder.vit.pos_embed"
    state[name] = timm.layers.resample_abs_pos_embed(
        state[name], new_size=(side // 8, side // 8), num_prefix_tokens=1
    )
    other.load_state_dict(state)
    return other


def one_map(network: Network, image: torch.Tensor, settings: CamSettings) -> np.ndarray:
    """Of one image at the network's size, [K, h, w]."""
    if settings.method == "class_weight":
        with torch.no_grad():
            return network(image).activation_maps[0].numpy()
    if settings.method == "attention":
        return attention_cams(network, image)[0][0].numpy()
    combine = {"grad_cam": grad_cam, "layer_cam": layer_cam}[settings.method]
    parts = []
    for layer in settings.layers:
        (maps,), _ = gradient_cams(network, image, [layer], combine)
        parts.append(maps[0].numpy() * maps[0, 0].numel())
    if len(parts) == 1:
        return parts[0]
    largest = max(part.shape[-1] for part in parts)
    scaled = [evaluate.normalise(part, "min_max") for part in parts]
    resized = [evaluate.resize(part, (largest, largest)) for part in scaled]
    return evaluate.normalise(np.mean(resized, axis=0), "min_max")


def naive_cams(kind, settings: CamSettings, request) -> np.ndarray:
    """Image by image, scale by scale, flip by flip."""
    found = []
    for image in IMAGES:
        grid = one_map(network_for(kind, 32, request), to_input(image[None]), settings).shape[-2:]
        total, count = 0.0, 0
        for scale in settings.scales:
            side = round(32 * scale)
            network = network_for(kind, side, request)
            pixels = F.interpolate(
                to_input(image[None]), (side, side), mode="bilinear", align_corners=False
            )
            for flip in (False, True)[: 1 + settings.flip]:
                maps = one_map(network, pixels.flip(-1) if flip else pixels, settings)
                maps = maps[..., ::-1] if flip else maps
                if settings.merge == "sum_max":
                    total = total + evaluate.resize(np.maximum(maps, 0), grid)
                else:
                    total = total + evaluate.resize(evaluate.normalise(maps, "min_max"), grid)
                count += 1
        mean = total / count
        found.append(evaluate.normalise(total, "max") if settings.merge == "sum_max" else mean)
    return np.stack(found)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("cnn", {}),
        ("vit", {}),
        ("cnn", {"method": "grad_cam"}),
        ("vit", {"method": "grad_cam", "layers": (-2, -1)}),
        ("cnn", {"method": "layer_cam", "layers": ("layer2", "layer4")}),
        ("vit", {"method": "layer_cam"}),
        ("vit", {"method": "attention"}),
    ],
)
@pytest.mark.parametrize(
    ("merge", "flip"), [("normalised_mean", False), ("normalised_mean", True), ("sum_max", True)]
)
def test_it_is_the_loop_over_images_scales_and_flips(kind, settings, merge, flip, request):
    asked = CamSettings(**settings, scales=SCALES, merge=merge, flip=flip)
    network = network_for(kind, 32, request)
    scores = cams(network, IMAGES, asked, batch_size=3)
    assert scores.maps.dtype == np.float16
    expected = naive_cams(kind, asked, request)
    np.testing.assert_allclose(scores.maps, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores.logits, class_weight_cams(network, IMAGES).logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_default_is_the_class_weight_cam(kind, request):
    network = request.getfixturevalue(kind)(classes=2, size=32)
    expected = class_weight_cams(network, IMAGES)
    found = cams(network, IMAGES)
    np.testing.assert_array_equal(found.maps, expected.maps)
    np.testing.assert_array_equal(found.logits, expected.logits)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_size_does_not_matter(batch_size, vit):
    network = vit(classes=2, size=32)
    settings = CamSettings("grad_cam", layers=(-2, -1), scales=(0.5, 1, 2), flip=True)
    expected = cams(network, IMAGES, settings, batch_size=5).maps
    found = cams(network, IMAGES, settings, batch_size=batch_size).maps
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_pass_holds_no_more_pixels_at_a_larger_scale(cnn):
    network = cnn(size=32)
    passes = []
    network.register_forward_pre_hook(lambda _, inputs: passes.append(tuple(inputs[0].shape)))
    images = np.concatenate([IMAGES, IMAGES])[:8]
    cams(network, images, CamSettings(scales=(0.5, 2), flip=True), batch_size=8)
    # Scale 1 is made for its logits and grid alone, so without the mirrored images.
    assert sorted(set(passes)) == [(2, 3, 64, 64), (8, 3, 32, 32), (16, 3, 16, 16)]
    assert len(passes) == 1 + 1 + 8


def test_maps_of_one_scale_and_layer_are_raw_scores_in_units_of_the_logit(cnn):
    network = cnn(classes=2, size=32)
    plain = class_weight_cams(network, IMAGES).maps
    scores = cams(network, IMAGES, CamSettings("grad_cam"))
    np.testing.assert_allclose(scores.maps, np.maximum(plain, 0), rtol=5e-3, atol=1e-5)


def test_one_other_scale_is_not_merged_with_any(cnn):
    network = cnn(classes=2, size=32).eval()
    settings = CamSettings(scales=(2,))
    assert not settings.normalised
    with torch.no_grad():
        large = F.interpolate(to_input(IMAGES), (64, 64), mode="bilinear", align_corners=False)
        expected = evaluate.resize(network(large).activation_maps.numpy(), (4, 4))
    np.testing.assert_allclose(cams(network, IMAGES, settings).maps, expected, rtol=5e-3, atol=1e-4)


TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"dynamic_img_size": True}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("eva02_tiny_patch14_224", {}),
        ("beit_base_patch16_224", {}),
    ],
)
def test_a_vit_is_left_with_its_own_positions_and_what_it_said(name, options):
    torch.manual_seed(0)
    network = build_network(name, classes=2, image_size=32, options={**TINY, **options})
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    values = {key: value.clone() for key, value in {**parameters, **buffers}.items()}
    before = class_weight_cams(network, IMAGES)
    cams(network, IMAGES, CamSettings(scales=(0.5, 1, 2)))
    assert network.encoder.vit.patch_embed.img_size == (32, 32)
    for now, then in (
        (dict(network.named_parameters()), parameters),
        (dict(network.named_buffers()), buffers),
    ):
        assert list(now) == list(then)
        assert all(now[key] is then[key] for key in then)
        assert all(torch.equal(now[key], values[key]) for key in then)
    np.testing.assert_array_equal(class_weight_cams(network, IMAGES).maps, before.maps)


def test_a_vit_is_left_with_its_own_positions_after_an_error(vit):
    network = vit(size=32)
    positions = network.encoder.vit.pos_embed

    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    handle = network.encoder.vit.blocks[0].register_forward_hook(
        lambda module, inputs, output: fail() if inputs[0].shape[1] != 17 else None
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        cams(network, IMAGES, CamSettings(scales=(1, 2)))
    handle.remove()
    assert network.encoder.vit.pos_embed is positions
    assert class_weight_cams(network, IMAGES).maps.shape == (5, 1, 4, 4)


def test_every_submodule_is_left_in_the_mode_it_came_in(cnn):
    network = cnn(size=32).train()
    network.encoder.extractor.bn1.eval()
    modes = [module.training for module in network.modules()]
    cams(network, IMAGES, CamSettings("grad_cam", scales=(1, 2)))
    class_weight_cams(network, IMAGES)
    assert [module.training for module in network.modules()] == modes
    assert not all(modes)


class OwnNetwork(torch.nn.Module):
    """A researcher's own network without an encoder of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 2, 8, 8)

    def forward(self, images: torch.Tensor) -> Output:
        maps = self.inner(images)
        return Output(maps, maps, maps.mean((-2, -1)))


def test_a_network_without_an_encoder_has_class_weight_cams_at_several_scales():
    torch.manual_seed(0)
    network = OwnNetwork()
    found = cams(network, IMAGES, CamSettings(scales=(1, 2), flip=True, merge="sum_max"))
    assert found.maps.shape == (5, 2, 4, 4)
    np.testing.assert_allclose(found.maps.max((-2, -1)), 1)


def test_a_network_without_an_encoder_has_no_other_cam():
    for method in ("grad_cam", "layer_cam", "attention"):
        with pytest.raises(InputError, match=f"method {method}: .*OwnNetwork has none"):
            cams(OwnNetwork(), IMAGES, CamSettings(method))


def test_the_refined_maps_of_a_pcm_network_are_those_of_class_weight_cams_alone(cnn):
    network = cnn(classes=2, size=32, head="pcm").eval()
    plain = torch.einsum("bchw,kc->bkhw", network(to_input(IMAGES)).features, network.head.weight)
    gradient = cams(network, IMAGES, CamSettings("grad_cam")).maps
    np.testing.assert_allclose(gradient, plain.detach().relu(), rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_check_accepts_what_can_be_made(kind, request):
    network = request.getfixturevalue(kind)(size=32).train()
    check_cam(network, CamSettings("grad_cam", scales=SCALES, flip=True), 32)
    assert network.training


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (
            "cnn",
            {"method": "grad_cam", "layers": ("layer7",)},
            "no layer 'layer7'; it has .*layer4",
        ),
        ("vit", {"method": "layer_cam", "layers": (2,)}, "no layer 2; it has blocks 0 to 1"),
        ("vit", {"method": "layer_cam", "layers": ("norm1",)}, "no layer 'norm1'"),
        ("cnn", {"method": "attention"}, "expected a ViT"),
    ],
)
def test_the_check_names_what_a_network_lacks(kind, settings, said, request):
    network = request.getfixturevalue(kind)(size=32)
    with pytest.raises(InputError, match=said):
        check_cam(network, CamSettings(**settings), 32)


def test_the_check_finds_a_network_that_takes_one_size_alone():
    network = build_network("levit_128s", classes=1, image_size=128)
    check_cam(network, CamSettings("grad_cam"), 128)
    with pytest.raises(InputError, match=r"scales \[0.5, 1.0\] of 128 px images: .*64 px"):
        check_cam(network, CamSettings(scales=(0.5, 1)), 128)


def test_a_network_that_takes_smaller_images_alone_is_refused_larger_ones():
    # Its tables of relative positions end at the size that it was built for.
    network = build_network("mvitv2_tiny", classes=1, image_size=64)
    check_cam(network, CamSettings(scales=(0.5, 1)), 64)
    with pytest.raises(InputError, match=r"the network cannot take 96 px: IndexError"):
        check_cam(network, CamSettings(scales=(0.5, 1, 1.5)), 64)


def test_a_network_that_timm_can_resize_has_several_scales_and_is_left_at_its_own():
    options = {"depths": (1, 1), "embed_dim": 12, "num_heads": (1, 1)}
    network = build_network(
        "swin_tiny_patch4_window7_224", classes=2, image_size=64, options=options
    ).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = cams(network, images)
    merged = cams(network, images, CamSettings(scales=(0.5, 1, 2), flip=True))
    assert merged.maps.shape == plain.maps.shape
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert np.array_equal(cams(network, images).maps, plain.maps)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_relpos_small_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 3}),
        (
            "swin_tiny_patch4_window7_224",
            {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 1, 1, 1)},
        ),
    ],
)
def test_other_families_are_left_with_all_that_they_had(name, options):
    model = timm.create_model(name, num_classes=0, img_size=128, **options).eval()
    pixels = torch.rand(1, 3, 128, 128)

    def held() -> list[tuple[str, object]]:
        return [
            (f"{label} {key}", value)
            for label, module in model.named_modules()
            for part in (vars(module), module._parameters, module._buffers, module._modules)
            for key, value in part.items()
        ]

    with torch.no_grad():
        before, said = held(), model(pixels)
        with resized_for(model, 64):
            assert model(pixels[..., :64, :64]).isfinite().all()
        assert [key for key, _ in held()] == [key for key, _ in before]
        assert all(now is then for (_, now), (_, then) in zip(held(), before, strict=True))
        assert torch.equal(model(pixels), said)
