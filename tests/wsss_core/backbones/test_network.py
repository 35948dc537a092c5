"""A CNN and a ViT as one thing: features on a grid, class activation maps, logits."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from wsss_core.backbones import Network, build_network
from wsss_core.errors import InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def rendered(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_logit_is_the_mean_of_its_activation_map_plus_the_bias(kind, request):
    network = request.getfixturevalue(kind)(classes=3, size=32).double().eval()
    nn.init.normal_(network.head.bias)
    with torch.no_grad():
        _, maps, logits, *_ = network(rendered(2, 32).double())
    for image in range(2):
        for k in range(3):
            mean = np.mean([float(value) for value in maps[image, k].flatten()])
            assert logits[image, k].item() == pytest.approx(mean + network.head.bias[k].item())


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_an_activation_map_is_the_heads_weight_at_each_location(kind, request):
    network = request.getfixturevalue(kind)(classes=3, size=32).double().eval()
    features, maps, *_ = network(rendered(2, 32).double())
    at = features[1, :, 2, 0] @ network.head.weight[2]
    assert maps.shape == (2, 3, 4, 4)
    assert maps[1, 2, 2, 0].item() == pytest.approx(at.item())


def test_the_input_is_normalised_by_the_networks_own_mean_and_deviation():
    mean, std = (0.1, 0.4, 0.7), (0.2, 0.3, 0.5)
    network = Network(nn.Identity(), channels=3, classes=1, mean=mean, std=std)
    mean_colour = torch.tensor(mean).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    brighter = mean_colour + torch.tensor(std).view(1, 3, 1, 1)
    assert network(mean_colour).features.abs().max() == 0
    torch.testing.assert_close(network(brighter).features, torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize(("kind", "expected"), [("cnn", IMAGENET), ("vit", HALVES)])
def test_a_built_networks_normalisation_is_the_one_its_weights_were_trained_with(
    kind, expected, request
):
    network = request.getfixturevalue(kind)()
    assert network.mean.flatten().tolist() == pytest.approx(expected[0])
    assert network.std.flatten().tolist() == pytest.approx(expected[1])


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_normalisation_is_no_part_of_the_saved_numbers(kind, request):
    assert not {"mean", "std"} & set(request.getfixturevalue(kind)().state_dict())


@pytest.mark.parametrize(
    "prefix", [{}, {"reg_tokens": 3}, {"class_token": False, "global_pool": "avg"}]
)
def test_a_patch_token_lies_where_its_patch_lies(vit, prefix):
    network = vit(size=32, **prefix).eval()
    network.encoder.vit.blocks = nn.Identity()  # without attention a token knows its patch alone
    images = rendered(1, 32)
    changed = images.clone()
    changed[:, :, 8:16, 24:32] += 1  # the patch in row 1, column 3
    difference = (network(changed).features - network(images).features).abs().amax((0, 1))
    assert difference.shape == (4, 4)
    assert difference.nonzero().tolist() == [[1, 3]]


@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_a_vits_features_are_normalised_whichever_way_timm_would_pool_them(vit, pooling):
    features = vit(size=32, global_pool=pooling).eval()(rendered(2, 32)).features
    torch.testing.assert_close(features.mean(1), torch.zeros(2, 4, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        features.var(1, unbiased=False), torch.ones(2, 4, 4), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize(("stride", "side"), [(None, 2), (32, 2), (16, 4), (8, 8)])
def test_the_output_stride_is_the_pixels_a_location(cnn, stride, side):
    network = cnn(size=64, output_stride=stride).eval()
    assert network(rendered(1, 64)).features.shape == (1, 32, side, side)


def test_a_stage_is_found_by_name_and_by_index(cnn):
    images = rendered(1, 32)
    by_name = cnn(feature_stage="layer3").eval()
    by_index = cnn(feature_stage=3).eval()
    assert by_name.channels == 16
    assert torch.equal(by_name(images).features, by_index(images).features)


def test_a_stage_is_the_map_that_the_whole_network_computes_there(cnn):
    torch.manual_seed(1)
    whole = timm.create_model("resnet18", channels=(8, 8, 16, 32), zero_init_last=False).eval()
    network = cnn(feature_stage="layer3", output_stride=None).eval()
    network.encoder.extractor.load_state_dict(whole.state_dict(), strict=False)
    images = rendered(1, 32)
    x = (images - network.mean) / network.std
    for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3"):
        x = getattr(whole, name)(x)
    torch.testing.assert_close(network(images).features, x)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_seed_of_torch_decides_every_number_of_a_fresh_network(kind, request):
    build = request.getfixturevalue(kind)
    first, again, other = (build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def build(name: str, **more) -> Network:
    return build_network(name, classes=1, **{"image_size": 32, **more})


def test_an_unknown_model_is_an_error_that_names_the_nearest():
    with pytest.raises(InputError, match=r"no model 'resnet19'; nearest: .*resnet1[08]"):
        build("resnet19")


def test_a_model_like_no_other_is_an_error_too():
    with pytest.raises(InputError, match=r"no model 'qqqqqqqq'$"):
        build("qqqqqqqq")


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_an_option_that_the_model_does_not_have_is_an_error_that_names_it(name):
    with pytest.raises(InputError, match=r"cannot build .*hat_size") as error:
        build(name, options={"hat_size": 57})
    assert "\n" not in str(error.value)


def test_a_patch_that_does_not_divide_the_image_is_an_error():
    with pytest.raises(InputError, match="patch of 16 does not divide the image size 40"):
        build("vit_tiny_patch16_224", image_size=40, options={"depth": 1})


@pytest.mark.parametrize(
    "more", [{"feature_stage": "layer3"}, {"feature_stage": 3}, {"output_stride": 8}]
)
def test_a_stage_or_an_output_stride_of_a_vit_is_an_error(more):
    with pytest.raises(InputError, match=r"vit_tiny_patch16_224.*not for plain ViTs"):
        build("vit_tiny_patch16_224", **more)


@pytest.mark.parametrize("stage", ["layer5", 9, -1])
def test_a_stage_that_a_cnn_lacks_is_an_error_that_lists_its_stages(stage):
    with pytest.raises(InputError, match=f"no stage {stage!r}; it has .*layer1, layer2, layer3"):
        build("resnet18", feature_stage=stage)


def test_an_output_stride_that_the_model_cannot_have_is_an_error():
    with pytest.raises(InputError, match="timm cannot build 'resnet18'"):
        build("resnet18", output_stride=7)


def test_weights_that_the_hub_cannot_give_are_an_error_that_names_the_model(monkeypatch):
    def unreachable(*_args, **_more):
        raise ConnectionError("the hub does not answer")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(InputError, match=r"cannot build 'resnet18'.*the hub does not answer"):
        build("resnet18", weights="pretrained")


@pytest.mark.parametrize(("kind", "taps"), [("cnn", ("layer1", 3, "layer4")), ("vit", (0, -1))])
def test_tapping_inner_layers_changes_nothing_else_to_the_bit(kind, taps, request):
    network = request.getfixturevalue(kind)(size=32).eval()
    images = rendered(2, 32)
    with torch.no_grad():
        plain, tapped = network(images), network(images, taps)
    assert plain.taps == ()
    assert len(tapped.taps) == len(taps)
    for one, other in zip(plain[:3], tapped[:3], strict=True):
        assert torch.equal(one, other)
    for layer, found in zip(taps, tapped.taps, strict=True):
        assert found.shape[1] == network.channels_at(layer)
    assert torch.equal(tapped.taps[-1], tapped.features)


def test_a_stage_is_found_by_its_name_and_by_timms_index(cnn):
    network = cnn(size=32).eval()
    by_name, by_index = network(rendered(1, 32), ("layer2", 2)).taps
    assert torch.equal(by_name, by_index)
    assert network.channels_at(None) == network.channels


def test_a_cnns_parameters_keep_the_names_of_the_full_model(cnn):
    names = {name.removeprefix("encoder.extractor.") for name, _ in cnn().named_parameters()}
    model = timm.create_model("resnet18", num_classes=0, channels=(8, 8, 16, 32))
    full = {name for name, _ in model.named_parameters()}
    assert names - {"head.weight", "head.bias"} == full


@pytest.mark.parametrize(
    ("kind", "layer"), [("cnn", "layer9"), ("cnn", 7), ("vit", 2), ("vit", "x")]
)
def test_a_layer_that_is_not_there_is_an_error_that_names_those_there_are(kind, layer, request):
    with pytest.raises(InputError, match=f"no layer {layer!r}; it has"):
        request.getfixturevalue(kind)().channels_at(layer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("beit_base_patch16_224", {"embed_dim": 24, "num_heads": 2}),
        ("eva02_tiny_patch14_224", {"embed_dim": 24, "num_heads": 2, "patch_size": 16}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "embed_dim": 24, "num_heads": 2}),
    ],
)
def test_taps_of_a_vit_that_pools_the_mean_are_normalised_as_its_features_are(name, options):
    network = build(name, image_size=64, options={"depth": 2, **options}).eval()
    norm = network.encoder.vit.fc_norm
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    with torch.no_grad():
        features, _, _, (first, last), *_ = network(rendered(2, 64), (0, -1))
        raw = network.encoder.vit.forward_intermediates(
            (rendered(2, 64) - network.mean) / network.std, indices=[0], intermediates_only=True
        )[0]
    torch.testing.assert_close(last, features)
    torch.testing.assert_close(first, norm(raw.movedim(1, -1)).movedim(-1, 1))
