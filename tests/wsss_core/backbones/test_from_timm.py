"""A timm model that the user already has, as a network of this package."""

import copy
import logging

import numpy as np
import pytest
import timm
import torch

from wsss_core.backbones import Network
from wsss_core.cams import CamSettings, cams
from wsss_core.errors import InputError
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer.paradigms import Single

SMALL = {"channels": (8, 8, 16, 32), "zero_init_last": False}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def resnet(**more):
    torch.manual_seed(0)
    return timm.create_model("resnet18", **{"num_classes": 3, **SMALL, **more}).eval()


def vit(**more):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **{"num_classes": 3, **VIT, **more}).eval()


def logits_of_both(network, model, size):
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(images).logits, model((images - network.mean) / network.std)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (resnet(), 64),
        (vit(global_pool="avg", class_token=False, fc_norm=False), 32),
    ],
)
def test_where_a_mean_is_pooled_the_networks_logits_are_the_models(model, size, caplog):
    with caplog.at_level(logging.WARNING):
        network = Network.from_timm(model)
    ours, theirs = logits_of_both(network, model, size)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert caplog.text == ""


def test_the_model_is_left_as_it_is_and_shares_no_weights():
    model = resnet()
    before = copy.deepcopy(model.state_dict())
    network = Network.from_timm(model)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.fc.out_features == 3
    assert not model.training


def test_behind_a_class_token_the_classifier_is_kept_and_a_warning_says_what_that_means(caplog):
    model = vit()
    with caplog.at_level(logging.WARNING):
        network = Network.from_timm(model)
    assert torch.equal(network.head.weight, model.head.weight)
    assert torch.equal(network.head.bias, model.head.bias)
    assert "its logits are not the model's" in caplog.text


def test_of_other_classes_the_head_starts_at_random_and_a_warning_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        network = Network.from_timm(resnet(), classes=2)
    assert network.head.weight.shape == (2, 32)
    assert "the head of 2 classes starts at random" in caplog.text


def test_mode_mean_and_std_are_the_models():
    model = timm.create_model("vit_base_patch16_clip_224", **VIT, num_classes=2)
    network = Network.from_timm(model)
    assert network.training
    assert network.mean.flatten().tolist() == pytest.approx(model.pretrained_cfg["mean"])
    assert network.std.flatten().tolist() == pytest.approx(model.pretrained_cfg["std"])


def test_half_precision_weights_are_kept_in_float32():
    network = Network.from_timm(resnet().half())
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_a_vit_can_be_given_another_image_size():
    network = Network.from_timm(vit(), image_size=48)
    assert network(torch.rand(1, 3, 48, 48)).features.shape == (1, 24, 6, 6)


def test_an_inner_stage_can_be_chosen():
    network = Network.from_timm(resnet(), feature_stage="layer3")
    assert network(torch.rand(1, 3, 32, 32)).features.shape == (1, 16, 2, 2)


def test_train_and_cams_take_it():
    network = Network.from_timm(resnet())
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = np.eye(4, 3, dtype=bool)
    (record,) = train(Single(network), images, labels, TrainingSettings(epochs=1), seed=0)
    assert np.isfinite(record.loss)
    assert cams(network, images, CamSettings("grad_cam")).maps.shape == (4, 3, 1, 1)


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (torch.nn.Sequential(), {}, "expected a timm model, got a Sequential; wsss_core.cams.cams"),
        ("resnet18", {}, "expected a timm model, got a str"),
        (resnet(num_classes=0), {}, "classes: expected a number, as the model has no classifier"),
        (resnet(), {"classes": 0}, "classes: expected 1 or more, or None, got 0"),
        (resnet(), {"image_size": "64"}, "image_size: expected 1 or more, or None, got '64'"),
        (resnet(), {"feature_stage": "layer9"}, "no stage 'layer9'; it has .*layer4"),
        (vit(), {"image_size": 36}, "VisionTransformer.* 36"),
        (vit(), {"feature_stage": 1}, "stage is not for plain ViTs"),
    ],
)
def test_bad_input_is_one_sentence(model, arguments, said):
    with pytest.raises(InputError, match=said):
        Network.from_timm(model, **arguments)
